//! Sends on many sockets with one call of the kernel (io_uring(7)).
//!
//! Each send that a program makes by itself may wake who waits for it, and that one may run at once, in the place of
//! who sends. Those of one call wake all of theirs before anybody else runs.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use io_uring::{IoUring, opcode, types};

/// A ring of one thread.
pub struct Ring {
    ring: IoUring,
    /// How many sends it takes at once.
    room: usize,
    /// Whether it has failed: what it holds is of buffers that are gone.
    failed: bool,
}

impl Ring {
    /// One that takes so many sends at once, from the thread that makes it.
    ///
    /// # Errors
    /// Where the kernel has none (Linux before 6.0), or does not allow it (`kernel.io_uring_disabled`, seccomp).
    pub fn new(room: u32) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_submit_all()
            .dontfork()
            .build(room)?;
        let ring = Self {
            ring,
            room: room as usize,
            failed: false,
        };
        ring.tried()
    }

    /// The same, where it sends: a filter may allow a ring, and none of its uses.
    fn tried(mut self) -> io::Result<Self> {
        let (ours, _theirs) = UnixStream::pair()?;
        let mut results = Vec::new();
        self.send_all(&[(ours.as_fd(), b".")], &mut results)?;
        match results.pop() {
            Some(Ok(1)) => Ok(self),
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Err(io::Error::other("a ring of the kernel's sent nothing")),
        }
    }

    /// Sends to each socket what its buffer takes of these bytes, and waits for no room in any. The results are in the
    /// order of the sends: how many bytes were taken, or `WouldBlock` where there was no room at all.
    ///
    /// # Errors
    /// When the ring fails, now or before. What became of the sends is unknown then.
    pub fn send_all(
        &mut self,
        sends: &[(BorrowedFd<'_>, &[u8])],
        results: &mut Vec<io::Result<usize>>,
    ) -> io::Result<()> {
        results.clear();
        if self.failed {
            return Err(io::Error::other("the ring has failed before"));
        }
        for some in sends.chunks(self.room) {
            let sent = self.send_some(some, results);
            self.failed = sent.is_err();
            sent?;
        }
        Ok(())
    }

    fn send_some(
        &mut self,
        sends: &[(BorrowedFd<'_>, &[u8])],
        results: &mut Vec<io::Result<usize>>,
    ) -> io::Result<()> {
        let first = results.len();
        let mut queue = self.ring.submission();
        for ((socket, bytes), number) in sends.iter().zip(0..) {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let send = opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), length)
                .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                .build()
                .user_data(number);
            // SAFETY: the socket and the bytes are borrowed for all of this function, which does not return while the
            // kernel has any of these sends; what it never took is in a ring that is not used again.
            unsafe { queue.push(&send) }.map_err(io::Error::other)?;
            results.push(Err(io::ErrorKind::Interrupted.into()));
        }
        drop(queue);
        let mut left = sends.len();
        while left > 0 {
            let submitted = self.ring.submit_and_wait(left);
            for over in self.ring.completion() {
                left -= 1;
                let result = match usize::try_from(over.result()) {
                    Ok(count) => Ok(count),
                    Err(_) => Err(io::Error::from_raw_os_error(-over.result())),
                };
                if let Some(slot) = results.get_mut(first + over.user_data() as usize) {
                    *slot = result;
                }
            }
            let waiting = self.ring.submission().len();
            match submitted {
                Err(error) if error.kind() != io::ErrorKind::Interrupted && left == waiting => {
                    return Err(error);
                }
                // The kernel has some of them still, which it sends without waiting for anybody.
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn each_socket_gets_its_bytes_and_a_full_or_broken_one_says_so() {
        let Ok(mut ring) = Ring::new(4) else {
            // This machine's kernel has none, or does not allow it: then nobody uses one.
            return;
        };
        let pairs: Vec<_> = (0..11).map(|_| UnixStream::pair().unwrap()).collect();
        let (mut ours, mut theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let large = vec![b'x'; 16 << 20];
        drop(theirs.remove(10));
        let texts: Vec<String> = (0..11).map(|number| format!("number {number}")).collect();
        let mut results = Vec::new();
        for round in 0..3 {
            let sends: Vec<_> = ours
                .iter()
                .zip(&texts)
                .enumerate()
                .map(|(number, (socket, text))| match number {
                    9 => (socket.as_fd(), &large[..]),
                    _ => (socket.as_fd(), text.as_bytes()),
                })
                .collect();
            ring.send_all(&sends, &mut results).unwrap();
            assert_eq!(results.len(), 11);
            for (number, result) in results.iter().enumerate().take(9) {
                let mut came = vec![0; texts[number].len()];
                theirs[number].read_exact(&mut came).unwrap();
                assert_eq!(came, texts[number].as_bytes());
                assert_eq!(*result.as_ref().unwrap(), came.len());
            }
            match (round, &results[9]) {
                (0, Ok(some)) => assert!((1..large.len()).contains(some)),
                (_, Err(error)) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                (_, Ok(_)) => panic!("a full socket takes nothing"),
            }
            let broken = results[10].as_ref().unwrap_err();
            assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
        }
        ours.clear();
        let mut rest = Vec::new();
        theirs[9].read_to_end(&mut rest).unwrap();
        assert!(rest.iter().all(|byte| *byte == b'x'));
    }
}
