//! The answer on its way back to the client.

use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_ENCODING, SET_COOKIE, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::upgrade::OnUpgrade;

use super::Exchange;
use crate::coming::Coming;
use crate::extended::Knock;
use crate::failure::Failure;
use crate::head;
use crate::reply::{Held, Kind, Pace, Reply, Stream};
use crate::tunnel;

impl Exchange<'_> {
    pub(super) fn deliver(
        &self,
        mut response: Response<Coming>,
        held: Held,
        switch: Option<OnUpgrade>,
    ) -> Result<Response<Reply>, Failure> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(switch) = switch else {
                held.place.failed();
                return Err(Failure::SWITCHED);
            };
            return self.deliver_switch(response, held, switch);
        }
        // After a 2xx the client would take what follows for frames.
        if self.knock.is_some() && response.status().is_success() {
            held.place.succeeded();
            return Err(Failure::NO_WEBSOCKET);
        }
        let instance = held.place.instance();
        match (response.status().is_server_error(), self.upload.is_empty()) {
            (true, _) => held.place.failed(),
            (false, true) => held.place.measured(),
            // A client's pace says nothing about the instance.
            (false, false) => held.place.succeeded(),
        }
        let [name, release] = instance.names.clone();
        let is_call = matches!(response.body(), Coming::Call(_));
        let headers = response.headers_mut();
        // What is read here comes without them.
        if is_call {
            head::strip_hop_by_hop(headers);
            headers.remove("ward-fault");
        }
        headers.insert(head::INSTANCE, name);
        headers.insert(head::RELEASE, release);
        self.set_cookies(headers);
        let kind = kind(headers);
        if let Some((_, route)) = &*self.route.borrow() {
            route.settings.dress(headers, self.scheme);
        }
        let within = self.time_left().filter(|_| kind == Kind::Ordinary);
        let pace = Pace::new(self.limit(|settings| settings.idle_timeout), within);
        if matches!(kind, Kind::Events | Kind::CompressedEvents) {
            self.account.lasts();
        }
        let client = &self.client;
        *response.version_mut() = Version::HTTP_11;
        Ok(response.map(|body| {
            let stream = Stream::new(body, kind, held);
            let stream = stream.paced(pace).taken_by(client, kind);
            Reply::Stream(Box::new(stream))
        }))
    }

    /// Tells a client that has no bucket yet in which one it is, and to which instance it comes back from now on.
    fn set_cookies(&self, headers: &mut HeaderMap) {
        let side = self.ticket.get().and_then(|ticket| ticket.cookie.clone());
        for cookie in side.into_iter().chain(self.comes_back.take()) {
            headers.append(SET_COOKIE, cookie);
        }
    }

    fn deliver_switch(
        &self,
        mut response: Response<Coming>,
        held: Held,
        client: OnUpgrade,
    ) -> Result<Response<Reply>, Failure> {
        let protocol = response.headers().get(UPGRADE).cloned();
        let answers = |knock: &Knock| knock.is_answered(response.headers());
        let protocol = protocol.filter(|_| self.knock.as_ref().is_none_or(answers));
        let mut headers = std::mem::take(response.headers_mut());
        let upstream = match response.into_body() {
            Coming::Wire(wired) => wired.into_switched(),
            Coming::Call(_) => None,
        };
        let (Some(protocol), Some(upstream)) = (protocol, upstream) else {
            held.place.failed();
            return Err(Failure::SWITCHED);
        };
        let [name, release] = held.place.instance().names.clone();
        head::strip_hop_by_hop(&mut headers);
        headers.insert(head::INSTANCE, name);
        headers.insert(head::RELEASE, release);
        self.set_cookies(&mut headers);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
        held.place.lengthen();
        let pause = self.client.may_pause();
        let speech = tunnel::Speech::of(&protocol);
        let account = self.account.clone();
        account.lasts();
        let stream = self.knock.as_ref().and_then(|_| self.client.stream());
        let client = (client, stream, Arc::clone(&self.client.held));
        let carrying = tunnel::switched(client, upstream, speech, held.place, account);
        tokio::task::spawn_local(async move {
            carrying.await;
            drop(pause);
        });
        let mut switched = Response::new(Reply::Page(Full::default()));
        if self.knock.is_some() {
            Knock::translate(&mut headers);
        } else {
            *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        *switched.headers_mut() = headers;
        Ok(switched)
    }
}

/// How an answer is drained, by its head.
pub(super) fn kind(headers: &HeaderMap) -> Kind {
    let compressed = headers.contains_key(CONTENT_ENCODING);
    match head::is_event_stream(headers) {
        true if compressed => Kind::CompressedEvents,
        true => Kind::Events,
        false if head::is_grpc(headers) => Kind::Call,
        false => Kind::Ordinary,
    }
}
