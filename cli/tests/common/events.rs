//! The stream of what is new at a server.

use ibgib::{Mode, Value};
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What is new at a server, as a web program hears it.
pub(crate) struct Events(Lines<BufReader<TcpStream>>);

impl Events {
    /// Asks with these headers, each with its line's end.
    pub(crate) fn of(server: &str, headers: &str) -> Self {
        let address = server.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let close = "Connection: close";
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\n{close}\r\n{headers}\r\n").unwrap();
        // An event that is lost fails the test.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(BufReader::new(stream).lines())
    }

    /// The next event, and the tips in it.
    pub(crate) fn next(&mut self) -> (String, Vec<Value>) {
        self.next_or_end().expect("the stream has ended")
    }

    /// The same; `None` at the stream's end.
    pub(crate) fn next_or_end(&mut self) -> Option<(String, Vec<Value>)> {
        let mut word = String::new();
        loop {
            let line = self.0.next()?.unwrap();
            if let Some(event) = line.strip_prefix("event: ") {
                word = event.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                let data = Value::parse(data, Mode::Strict).unwrap();
                return Some((word, data.as_array().unwrap().to_vec()));
            }
        }
    }
}
