//! Where requests go, and what holds for them on the way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use ward_gateway::control::ControlError;
use ward_types::id::Name;
use ward_types::maintenance::Maintenance;
use ward_types::route::{
    Audience, HeaderCondition, Https, Prefix, Route, RouteSettings, StandardHeaders,
};
use ward_types::table::{Applied, Pool, Table};
use ward_types::time::Millis;
use ward_types::unit::ByteSize;

use crate::app::{App, Payload, slow_body};
use crate::clients::{body, empty, fetch, get, get2, http1, http1_over, http2, raw};
use crate::gaps::waits;
use crate::links::{handed_over, service};
use crate::tls::{connect, trusting};
use crate::world::{Start, World, eventually};

/// Two services: `web`, whose instance answers "web", and `api`, whose instance answers "api".
struct Shop {
    world: World,
    web: App,
    _api: App,
}

impl Shop {
    async fn new(web: Vec<Route>, api: Vec<Route>) -> Self {
        Self::start(Start::Usual, web, api).await
    }

    async fn start(start: Start, web: Vec<Route>, api: Vec<Route>) -> Self {
        let (web_app, api_app) = (App::http("web").await, App::http("api").await);
        let mut world = World::start(start).await;
        world.instance("web-r1-1", web_app.address);
        world.instance("api-r1-2", api_app.address);
        let mut shop = Self {
            world,
            web: web_app,
            _api: api_app,
        };
        shop.apply(web, api).await.unwrap();
        shop
    }

    fn table(&mut self, web: Vec<Route>, api: Vec<Route>) -> Table {
        let mut table = self.world.table(&["web-r1-1"]);
        let mut other = Pool::clone(&table.pools[0]);
        other.service = Name::parse("api").unwrap();
        other.endpoints = vec![self.world.endpoint("api-r1-2")];
        other.routes = api;
        table.pools.push(Arc::new(other));
        Arc::make_mut(&mut table.pools[0]).routes = web;
        table
    }

    async fn apply(&mut self, web: Vec<Route>, api: Vec<Route>) -> Result<Applied, ControlError> {
        let table = self.table(web, api);
        self.world.control.apply(table).await
    }

    async fn ask(&self, host: &str, path: &str) -> Response<Incoming> {
        self.ask_with(host, path, &[]).await
    }

    async fn ask_with(
        &self,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Response<Incoming> {
        let mut request = Request::builder().uri(path).header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        fetch(self.world.http, request.body(empty()).unwrap()).await
    }

    /// A GET over a link to `web`.
    async fn by_link(&self, path: &str) -> Response<Incoming> {
        let (stream, taken) = handed_over(&self.world, service("web")).await;
        assert!(taken);
        http1_over(stream)
            .await
            .send_request(get(path))
            .await
            .unwrap()
    }

    /// The service that answers, or the status of what the gateway says.
    async fn who(&self, host: &str, path: &str) -> String {
        who(self.ask(host, path).await).await
    }
}

async fn who(response: Response<Incoming>) -> String {
    match response.headers().get("ward-instance") {
        Some(instance) => instance.to_str().unwrap()[..3].to_owned(),
        None => response.status().as_u16().to_string(),
    }
}

const HOST: &str = "shop.localhost";

fn at(path: &str) -> Route {
    Route {
        path: path.to_owned(),
        ..Route::plain(HOST)
    }
}

fn with(settings: RouteSettings) -> Vec<Route> {
    vec![Route {
        settings,
        ..Route::plain(HOST)
    }]
}

fn beta(value: Option<&str>) -> Option<HeaderCondition> {
    Some(HeaderCondition {
        name: "x-beta".to_owned(),
        value: value.map(str::to_owned),
    })
}

fn post(path: &str, bytes: &'static [u8]) -> Request<Payload> {
    let body = Full::new(Bytes::from_static(bytes)).map_err(|never| match never {});
    let request = Request::post(path).header("host", HOST);
    request.body(body.boxed()).unwrap()
}

#[tokio::test]
async fn what_is_down_says_so_and_what_was_never_there_does_not() {
    let mut shop = Shop::new(vec![Route::plain("*.example.org")], Vec::new()).await;
    let mut table = shop.table(vec![Route::plain("*.example.org")], Vec::new());
    table.down = ["*.down.example", "a.example.org", "down.localhost"]
        .map(str::to_owned)
        .into();
    shop.world.control.apply(table.clone()).await.unwrap();
    for (host, expected) in [
        ("down.localhost", "503"),
        ("Down.Localhost.", "503"),
        ("x.down.localhost", "404"),
        ("a.down.example", "503"),
        ("a.b.down.example", "404"),
        ("down.example", "404"),
        (".down.example", "404"),
        ("nobody.localhost", "404"),
        // What is served goes before what is down.
        ("a.example.org", "web"),
    ] {
        assert_eq!(shop.who(host, "/x").await, expected, "{host}");
    }
    assert_eq!(shop.world.control.observe().await.unwrap().table, table);
    // It is a part of the table: another list is another table.
    let mut other = table.clone();
    other.down.clear();
    shop.world.control.apply(other).await.unwrap_err();
    shop.apply(vec![Route::plain("*.example.org")], Vec::new())
        .await
        .unwrap();
    assert_eq!(shop.who("down.localhost", "/x").await, "404");
}

#[tokio::test]
async fn the_most_specific_host_and_the_longest_prefix_decide() {
    let web = vec![
        Route::plain(HOST),
        at("/api/v1/web"),
        Route::plain("*.example.org"),
    ];
    let api = vec![at("/api"), Route::plain("a.example.org")];
    let shop = Shop::new(web, api).await;
    for (host, path, expected) in [
        (HOST, "/", "web"),
        (HOST, "/api", "api"),
        (HOST, "/api/", "api"),
        (HOST, "/api?x=/y", "api"),
        (HOST, "/api/v1", "api"),
        (HOST, "/%61pi/v1", "api"),
        (HOST, "/api/v1/web/x", "web"),
        (HOST, "/api/v1/webs", "api"),
        (HOST, "/apis", "web"),
        ("a.example.org", "/", "api"),
        ("A.Example.org.:8080", "/", "api"),
        ("b.example.org", "/", "web"),
        ("example.org", "/", "404"),
        ("c.b.example.org", "/", "404"),
        (".example.org", "/", "404"),
    ] {
        assert_eq!(shop.who(host, path).await, expected, "{host}{path}");
    }
    let star = b"OPTIONS * HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(shop.world.http, star).await;
    assert!(answer.contains("ward-instance: web-r1-1"), "{answer}");
    let mut client = http2(shop.world.http).await;
    let found = client.send_request(get2("/api/x")).await.unwrap();
    assert_eq!(who(found).await, "api");
}

#[tokio::test]
async fn no_other_form_of_a_path_leads_past_a_prefix() {
    let closed = RouteSettings {
        audience: Audience::Links,
        ..RouteSettings::default()
    };
    let admin = Route {
        settings: closed,
        ..at("/admin")
    };
    let shop = Shop::new(vec![Route::plain(HOST), admin], vec![at("/x")]).await;
    for path in [
        "/admin",
        "/admin/",
        "/admin/users",
        "/%61dmin",
        "/adm%69n/users",
    ] {
        assert_eq!(shop.who(HOST, path).await, "404", "{path}");
    }
    for path in [
        "/Admin",
        "/ADMIN/users",
        "/%41dmin",
        "//admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/..%2fadmin",
        "/x/..;/admin",
        "/./admin",
        "/admin;x/users",
        "/admin%2fusers",
        "/admin%5cusers",
        "/%2561dmin",
        "/x%2f..%2fadmin",
        "/x/%252e%252e/admin",
        "/%2e/admin",
        "/y/%c0%ae%c0%ae/admin",
    ] {
        let answer = shop.ask(HOST, path).await;
        assert_eq!(answer.status(), 400, "{path}");
        assert_eq!(answer.headers()["ward-fault"], "client");
    }
    assert_eq!(
        who(shop.by_link("/admin").await).await,
        "web",
        "links lead there"
    );
    // What leads nowhere else goes on.
    assert_eq!(shop.who(HOST, "/x/a%2Fb;c//d").await, "api");
}

#[tokio::test]
async fn a_host_with_one_route_takes_every_path_as_it_is() {
    let shop = Shop::new(vec![Route::plain(HOST)], Vec::new()).await;
    for path in ["/x/../admin", "//x", "/a%2Fb;c", "/%zz", "/..;/", "/%00"] {
        assert_eq!(shop.who(HOST, path).await, "web", "{path}");
    }
}

#[tokio::test]
async fn a_header_counts_more_when_its_value_is_asked_for() {
    let header = |condition| Route {
        header: condition,
        ..at("/api")
    };
    let web = vec![Route::plain(HOST), header(beta(Some("2")))];
    let api = vec![header(beta(None))];
    let shop = Shop::new(web, api).await;
    for (value, expected) in [(Some("1"), "api"), (Some("2"), "web"), (Some(""), "api")] {
        let headers: Vec<_> = value.map(|value| ("X-Beta", value)).into_iter().collect();
        let found = shop.ask_with(HOST, "/api", &headers).await;
        assert_eq!(who(found).await, expected, "{value:?}");
    }
    // Without the header the shorter prefix is what is left.
    assert_eq!(shop.who(HOST, "/api").await, "web");
    let twice = [("x-beta", "1"), ("x-beta", "2")];
    assert_eq!(who(shop.ask_with(HOST, "/api", &twice).await).await, "web");
}

#[tokio::test]
async fn a_prefix_is_kept_or_stripped() {
    let stripped = Route {
        settings: RouteSettings {
            prefix: Prefix::Stripped,
            ..RouteSettings::default()
        },
        ..at("/api/v1")
    };
    let shop = Shop::new(vec![at("/kept")], vec![stripped]).await;
    let claim = [("x-forwarded-prefix", "/evil")];
    let seen = body(shop.ask_with(HOST, "/api/v1/head?a=/api/v1", &claim).await).await;
    assert!(seen.starts_with("GET /head?a=/api/v1 HTTP/1.1"), "{seen}");
    assert!(
        seen.contains("x-forwarded-prefix: /api/v1") && !seen.contains("evil"),
        "{seen}"
    );
    let seen = body(shop.ask_with(HOST, "/api/%76%31/head", &claim).await).await;
    assert!(seen.starts_with("GET /head HTTP/1.1"), "{seen}");
    for path in ["/api/v1", "/api/v1/", "/api/v1?x=/head"] {
        assert_eq!(body(shop.ask(HOST, path).await).await, "api", "{path}");
    }
    assert_eq!(shop.who(HOST, "/api/v1//evil.example/x").await, "400");
    assert_eq!(shop.who(HOST, "/elsewhere").await, "404");
    let seen = body(shop.ask_with(HOST, "/kept", &claim).await).await;
    assert_eq!(seen, "web");
}

#[tokio::test]
async fn plain_http_is_sent_to_https_but_for_challenges() {
    let settings = RouteSettings {
        https: Https::Redirect,
        ..RouteSettings::default()
    };
    let shop = Shop::new(with(settings), Vec::new()).await;
    let (http, https) = (shop.world.http.port(), shop.world.https.port());
    for (host, place) in [
        (
            format!("{HOST}:{http}"),
            format!("https://{HOST}:{https}/a?b=c"),
        ),
        // Through something that maps 80 and 443.
        (HOST.to_owned(), format!("https://{HOST}/a?b=c")),
    ] {
        let answer = fetch(
            shop.world.http,
            Request::post("/a?b=c")
                .header("host", &host)
                .body(empty())
                .unwrap(),
        )
        .await;
        assert_eq!(answer.status(), 308);
        assert_eq!(answer.headers()["location"], place.as_str());
        assert!(answer.headers().get("strict-transport-security").is_none());
    }
    let challenge = "/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA";
    assert_eq!(shop.who(HOST, challenge).await, "web");
    let climbing = "/.well-known/acme-challenge/../../secret";
    assert_eq!(shop.ask(HOST, climbing).await.status(), 308);
    let config = Arc::new(trusting(&shop.world, &[&rustls::version::TLS13]));
    let stream = connect(&config, shop.world.https, HOST).await.unwrap();
    let answer = http1_over(stream)
        .await
        .send_request(get("/"))
        .await
        .unwrap();
    assert_eq!(who(answer).await, "web");
}

#[tokio::test]
async fn response_headers_are_added_and_never_over_the_applications_own() {
    let own = RouteSettings {
        headers: [
            ("strict-transport-security", "max-age=60"),
            ("content-language", "en"),
            ("referrer-policy", ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        ..RouteSettings::default()
    };
    let speaking = App::raw(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Frame-Options: DENY\r\nContent-Language: de\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let mut shop = Shop::new(with(own.clone()), Vec::new()).await;
    let config = Arc::new(trusting(&shop.world, &[&rustls::version::TLS13]));
    let over_tls = async || {
        let stream = connect(&config, shop.world.https, HOST).await.unwrap();
        http1_over(stream)
            .await
            .send_request(get("/"))
            .await
            .unwrap()
    };
    let header = |answer: &Response<Incoming>, name: &str| {
        let values = answer.headers().get_all(name).iter();
        let values: Vec<&str> = values.map(|value| value.to_str().unwrap()).collect();
        values.join(" and ")
    };
    let (plain, tls) = (shop.ask(HOST, "/").await, over_tls().await);
    assert_eq!(header(&plain, "strict-transport-security"), "");
    assert_eq!(header(&tls, "strict-transport-security"), "max-age=60");
    for answer in [&plain, &tls] {
        assert_eq!(header(answer, "x-content-type-options"), "nosniff");
        assert_eq!(header(answer, "x-frame-options"), "SAMEORIGIN");
        assert_eq!(header(answer, "content-language"), "en");
        assert_eq!(header(answer, "referrer-policy"), "");
    }
    shop.world.instance("web-r1-3", speaking.address);
    let mut table = shop.table(with(own), Vec::new());
    Arc::make_mut(&mut table.pools[0]).endpoints = vec![shop.world.endpoint("web-r1-3")];
    shop.world.control.apply(table).await.unwrap();
    let answer = shop.ask(HOST, "/").await;
    assert_eq!(header(&answer, "x-frame-options"), "DENY");
    assert_eq!(header(&answer, "content-language"), "de");
    let off = RouteSettings {
        standard_headers: StandardHeaders::Left,
        ..RouteSettings::default()
    };
    shop.apply(with(off), Vec::new()).await.unwrap();
    assert_eq!(
        header(&shop.ask(HOST, "/").await, "x-content-type-options"),
        ""
    );
}

#[tokio::test]
async fn addresses_that_may_not_ask_are_told_so_and_no_more() {
    let only = |range: &str| RouteSettings {
        allow: vec![range.parse().unwrap()],
        ..RouteSettings::default()
    };
    let admin = Route {
        settings: only("192.0.2.0/24"),
        ..at("/admin")
    };
    let mut web = with(only("127.0.0.0/8"));
    web.push(admin);
    let shop = Shop::new(web, Vec::new()).await;
    assert_eq!(shop.who(HOST, "/").await, "web");
    let forged = [
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
    ];
    let answer = shop.ask_with(HOST, "/admin/x", &forged).await;
    assert_eq!(answer.status(), 403);
    let page = body(answer).await;
    assert!(
        page.contains("not open to the address") && !page.contains("192.0.2"),
        "{page}"
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read_or_when_it_becomes_so() {
    let settings = RouteSettings {
        body_limit: Some(ByteSize(10)),
        ..RouteSettings::default()
    };
    let shop = Shop::new(with(settings), Vec::new()).await;
    let answer = fetch(shop.world.http, post("/count", b"0123456789")).await;
    assert_eq!(body(answer).await, "10");
    let asked = shop.web.seen.requests();
    let answer = fetch(shop.world.http, post("/count", b"0123456789x")).await;
    assert_eq!(answer.status(), 413);
    let waits = b"POST /count HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 99\r\nExpect: 100-continue\r\n\r\n";
    let told = raw(shop.world.http, waits).await;
    assert!(told.starts_with("HTTP/1.1 413"), "{told}");
    assert_eq!(shop.web.seen.requests(), asked, "the instance was asked");
    // All of it is taken, so that its client hears the answer.
    let mut stream = TcpStream::connect(shop.world.http).await.unwrap();
    let head = "POST /count HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 3000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; 3_000_000]).await.unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 413"), "{told}");
    // Of a body whose length nobody said, what came before the limit has been passed on.
    let chunked = slow_body(Bytes::from_static(b"abcd"), 5, Duration::from_millis(5));
    let request = Request::post("/count").header("host", HOST);
    let answer = fetch(shop.world.http, request.body(chunked.boxed()).unwrap()).await;
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.headers()["ward-fault"], "client");
    let chunked = slow_body(Bytes::from_static(b"abcd"), 5, Duration::from_millis(5));
    let request = Request::post(format!("http://{HOST}/count")).body(chunked.boxed());
    let mut client = http2(shop.world.http).await;
    let answer = client.send_request(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 413);
    eventually("nothing is under way", async || {
        shop.world.traffic("web-r1-1").await.requests == 0
    })
    .await;
    assert_eq!(
        shop.world.traffic("web-r1-1").await.failed,
        0,
        "the instance was blamed"
    );
}

#[tokio::test]
async fn an_answer_has_the_time_that_its_route_gives_it() {
    let short = Some(Millis(300));
    let limited = |path: &str, settings: RouteSettings| Route {
        settings,
        ..at(path)
    };
    let standard = RouteSettings::default;
    let web = vec![
        limited(
            "/wait",
            RouteSettings {
                response_timeout: short,
                ..standard()
            },
        ),
        limited(
            "/events",
            RouteSettings {
                idle_timeout: short,
                ..standard()
            },
        ),
        limited(
            "/endless",
            RouteSettings {
                timeout: short,
                ..standard()
            },
        ),
        limited(
            "/whole",
            RouteSettings {
                timeout: short,
                prefix: Prefix::Stripped,
                ..standard()
            },
        ),
        Route::plain(HOST),
    ];
    let shop = Shop::new(web, Vec::new()).await;
    for path in ["/wait", "/whole/wait"] {
        let late = shop.ask(HOST, path).await;
        assert_eq!(
            (late.status().as_u16(), &late.headers()["ward-fault"]),
            (504, &"upstream".parse().unwrap())
        );
    }
    let failed = shop.world.traffic("web-r1-1").await.failed;
    assert_eq!(failed, 2);
    // A stream of events that says nothing, and an answer that does not end.
    let events = shop.ask(HOST, "/events").await;
    assert!(events.into_body().collect().await.is_err());
    let endless = shop.ask(HOST, "/endless").await;
    assert!(endless.into_body().collect().await.is_err());
    eventually("both are over for the instance, too", async || {
        shop.web.seen.abandoned() >= 2
    })
    .await;
    let failed = shop.world.traffic("web-r1-1").await.failed;
    assert_eq!(failed, 3, "who is silent has failed, who is long has not");
    // Where a route sets a whole time, event streams go on.
    let mut events = shop.ask(HOST, "/whole/events").await.into_body();
    assert!(events.frame().await.is_some());
    tokio::time::sleep(Duration::from_millis(600)).await; // Longer than the route's time.
    shop.web.seen.release.notify_one();
    let next = events.frame().await.unwrap().unwrap();
    assert_eq!(next.into_data().unwrap(), "data: 1\n\n");
}

#[tokio::test]
async fn maintenance_is_a_page_for_all_but_those_who_are_let_in() {
    let mut shop = Shop::new(vec![Route::plain(HOST)], vec![at("/api")]).await;
    let maintenance = |allow: &[&str]| Maintenance {
        message: "Back at <noon> & later".to_owned(),
        allow: allow.iter().map(|range| range.parse().unwrap()).collect(),
        retry_after: Millis::secs(90),
    };
    let mut table = shop.table(vec![Route::plain(HOST)], vec![at("/api")]);
    Arc::make_mut(&mut table.pools[0]).maintenance = Some(maintenance(&["192.0.2.0/24"]));
    shop.world.control.apply(table).await.unwrap();
    let page = shop.ask_with(HOST, "/", &[("accept", "text/html")]).await;
    assert_eq!(page.status(), 503);
    assert_eq!(page.headers()["retry-after"], "90");
    assert_eq!(page.headers()["ward-fault"], "ward");
    assert_eq!(page.headers()["x-frame-options"], "SAMEORIGIN");
    let text = body(page).await;
    assert!(
        text.contains("Back at &#60;noon&#62; &#38; later"),
        "{text}"
    );
    assert_eq!(
        shop.who(HOST, "/api").await,
        "api",
        "another service is served"
    );
    assert_eq!(
        who(shop.by_link("/").await).await,
        "web",
        "links are served"
    );
    // A connection is kept, and a request with a body has its answer.
    let mut kept = http1(shop.world.http).await;
    for _ in 0..2 {
        let page = kept.send_request(get("/")).await.unwrap();
        assert_eq!(
            (page.status().as_u16(), body(page).await.contains("<noon>")),
            (503, true)
        );
    }
    assert_eq!(
        fetch(shop.world.http, post("/count", b"abc"))
            .await
            .status(),
        503
    );
    let mut table = shop.table(vec![Route::plain(HOST)], Vec::new());
    Arc::make_mut(&mut table.pools[0]).maintenance = Some(maintenance(&["127.0.0.1"]));
    shop.world.control.apply(table).await.unwrap();
    assert_eq!(shop.who(HOST, "/").await, "web");
    shop.apply(vec![Route::plain(HOST)], Vec::new())
        .await
        .unwrap();
    assert_eq!(shop.who(HOST, "/").await, "web");
}

#[tokio::test]
async fn tables_that_cannot_be_say_why() {
    let mut shop = Shop::new(vec![Route::plain(HOST)], Vec::new()).await;
    let bad_header = RouteSettings {
        headers: [("content-length".to_owned(), "1".to_owned())].into(),
        ..RouteSettings::default()
    };
    for (web, api, says) in [
        (
            vec![at("/api")],
            vec![at("/API")],
            "requests for shop.localhost/API lead to web of shop/dev and to api",
        ),
        (vec![at("api")], vec![], "does not begin with a slash"),
        (vec![at("/a/../b")], vec![], "whole segments"),
        (vec![at("/a/")], vec![], "whole segments"),
        (
            vec![Route::plain("a.*.org")],
            vec![],
            "its host is neither a name",
        ),
        (
            vec![Route::plain("*")],
            vec![],
            "its host is neither a name",
        ),
        (with(bad_header), vec![], "not for a route to set"),
    ] {
        let refused = shop.apply(web, api).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    assert_eq!(shop.who(HOST, "/").await, "web");
}

#[tokio::test]
async fn who_waits_for_an_instance_goes_by_the_newest_routes() {
    let mut shop = Shop::start(Start::Patient, vec![Route::plain(HOST)], Vec::new()).await;
    let mut table = shop.table(vec![Route::plain(HOST)], Vec::new());
    Arc::make_mut(&mut table.pools[0]).endpoints.clear();
    shop.world.control.apply(table).await.unwrap();
    let http = shop.world.http;
    let waiting = [
        waits(fetch(http, get("/x"))).await,
        waits(fetch(http, get("/api/x"))).await,
    ];
    let closed = RouteSettings {
        allow: vec!["192.0.2.0/24".parse().unwrap()],
        ..RouteSettings::default()
    };
    shop.apply(with(closed), vec![at("/api")]).await.unwrap();
    let mut answers = Vec::new();
    for one in waiting {
        answers.push(who(one.await.unwrap()).await);
    }
    assert_eq!(answers, ["403", "api"]);
}
