//! A proxy before a server that speaks HTTP/1.1, on the loopback interface: it loses answers, delays them, and gives others.
//!
//! Owns: which request meets which fault, from a seed; what the server said it had created. Never: changes what it passes on, whose
//! signature covers its headers.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::common::Rng;

/// A server that says nothing for so long will not.
const PATIENCE: Duration = Duration::from_mins(1);
const DELAY_MILLIS_MAX: usize = 200;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is done, and the connection drops.
    AnswerLost,
    /// It is done, after a while.
    Delayed,
    /// It is done, and answered with 500.
    DoneThen500,
    /// It is answered with 503, and done later.
    DoneLate,
    /// It is answered with 503.
    Unavailable,
    /// It is answered with 409.
    Conflict,
    /// The connection drops in the middle of the answer.
    BodyCut,
}

use Fault::{AnswerLost, BodyCut, Conflict, Delayed, DoneLate, DoneThen500, Unavailable};

const OF_PUTS: &[Fault] = &[AnswerLost, Delayed, DoneThen500, DoneLate, Unavailable, Conflict];
const OF_GETS: &[Fault] = &[AnswerLost, Delayed, DoneThen500, Unavailable, BodyCut];
const OF_OTHERS: &[Fault] = &[AnswerLost, Delayed, DoneThen500, Unavailable];

#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    /// One in so many requests meets a fault; 0 for none.
    one_in: AtomicU64,
    /// Whether nothing passes.
    is_down: AtomicBool,
    has_ended: AtomicBool,
    rng: Mutex<Rng>,
    met: Mutex<BTreeMap<Fault, u64>>,
    /// How often the server said that it created an object. Puts that create wait for each other: of two at once, servers for tests may
    /// let both succeed.
    created: Mutex<BTreeMap<String, u64>>,
}

impl Proxy {
    /// A proxy before a server, which fails nothing yet.
    pub fn before(server: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            server,
            one_in: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            rng: Mutex::new(Rng::new(seed)),
            met: Mutex::default(),
            created: Mutex::default(),
        });
        let accepts = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepts.has_ended.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&accepts);
                // A client that goes away, or is sent away, is none of the proxy's business.
                std::thread::spawn(move || drop(shared.serve(&client)));
            }
        });
        Self { address, shared }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn fail_one_in(&self, requests: u64) {
        self.shared.one_in.store(requests, Ordering::Relaxed);
    }

    /// Whether it refuses everything.
    pub fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::Relaxed);
    }

    /// How often requests met each fault.
    pub fn met(&self) -> BTreeMap<Fault, u64> {
        self.shared.met.lock().clone()
    }

    /// Objects that the server said to have created more than once. A probe is deleted at once, and a put of it may come later.
    pub fn created_twice(&self) -> Vec<String> {
        let created = self.shared.created.lock();
        created
            .iter()
            .filter(|(name, times)| **times > 1 && !name.contains("/probe/"))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        // It wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    /// Serves a connection until either side drops it.
    fn serve(self: Arc<Self>, client: &TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut reader = BufReader::new(client.try_clone()?);
        while let Some(head) = Head::read(&mut reader)? {
            let body = head.body(&mut reader, false)?;
            let request = Message { head, body };
            if self.is_down.load(Ordering::Relaxed) {
                break;
            }
            if !self.pass(request, client)? {
                break;
            }
        }
        // The socket has clones: dropping this one would not end the connection.
        client.shutdown(Shutdown::Both)
    }

    fn fault(&self, method: &str) -> Option<Fault> {
        let one_in = usize::try_from(self.one_in.load(Ordering::Relaxed)).expect("small");
        let mut rng = self.rng.lock();
        if one_in == 0 || !rng.one_in(one_in) {
            return None;
        }
        let faults = match method {
            "PUT" => OF_PUTS,
            "GET" => OF_GETS,
            _ => OF_OTHERS,
        };
        let fault = faults[rng.below(faults.len())];
        drop(rng);
        *self.met.lock().entry(fault).or_default() += 1;
        Some(fault)
    }

    fn delay(&self) -> Duration {
        let millis = self.rng.lock().below(DELAY_MILLIS_MAX);
        Duration::from_millis(u64::try_from(millis).expect("small"))
    }

    /// Passes a request on, and its answer back. Says whether the connection goes on.
    fn pass(self: &Arc<Self>, request: Message, mut client: &TcpStream) -> io::Result<bool> {
        let fault = self.fault(&request.head.method);
        match fault {
            Some(Unavailable) => return answer(client, "503 Service Unavailable"),
            Some(Conflict) => return answer(client, "409 Conflict"),
            Some(DoneLate) => {
                let (shared, delay) = (Arc::clone(self), self.delay());
                std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    // Its answer interests nobody.
                    drop(shared.forward(&request));
                });
                return answer(client, "503 Service Unavailable");
            }
            Some(Delayed) => std::thread::sleep(self.delay()),
            _ => {}
        }
        let done = self.forward(&request)?;
        match fault {
            Some(AnswerLost) => return Ok(false),
            Some(DoneThen500) => return answer(client, "500 Internal Server Error"),
            Some(BodyCut) => {
                client.write_all(&done.head.bytes)?;
                client.write_all(&done.body[..done.body.len() / 2])?;
                return Ok(false);
            }
            _ => {}
        }
        client.write_all(&[&*done.head.bytes, &done.body].concat())?;
        Ok(!done.head.ends_with_connection())
    }

    /// Does a request, and notes what it created.
    fn forward(&self, request: &Message) -> io::Result<Message> {
        let is_create = request.head.method == "PUT" && request.head.field("if-none-match").is_some();
        if !is_create {
            return self.ask(request);
        }
        let mut created = self.created.lock();
        let done = self.ask(request)?;
        if done.head.status().starts_with('2') {
            *created.entry(request.head.target.clone()).or_default() += 1;
        }
        Ok(done)
    }

    fn ask(&self, request: &Message) -> io::Result<Message> {
        let mut server = TcpStream::connect(self.server)?;
        server.set_nodelay(true)?;
        server.set_read_timeout(Some(PATIENCE))?;
        server.write_all(&[&*request.head.bytes, &request.body].concat())?;
        let mut reader = BufReader::new(server);
        loop {
            let head = Head::read(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let status = head.status();
            if status.starts_with('1') {
                continue;
            }
            let is_empty = request.head.method == "HEAD" || status == "204" || status == "304";
            let body = if is_empty { Vec::new() } else { head.body(&mut reader, true)? };
            return Ok(Message { head, body });
        }
    }
}

fn answer(mut client: &TcpStream, status: &str) -> io::Result<bool> {
    client.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes())?;
    Ok(true)
}

/// A request or an answer, with its body as it came, in chunks or not.
struct Message {
    head: Head,
    body: Vec<u8>,
}

/// The lines before a body, up to and with the empty one.
struct Head {
    bytes: Vec<u8>,
    /// The first word of the first line: of an answer the version.
    method: String,
    /// The second word: of an answer the status.
    target: String,
    /// Names in lower case.
    fields: Vec<(String, String)>,
}

impl Head {
    /// `None` if the connection ends instead.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        loop {
            let begin = bytes.len();
            if reader.read_until(b'\n', &mut bytes)? == 0 {
                return if begin == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            if matches!(&bytes[begin..], b"\r\n" | b"\n") {
                break;
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Ok(Some(Self { bytes, method, target, fields }))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(named, _)| named == name).map(|(_, value)| &**value)
    }

    fn status(&self) -> &str {
        &self.target
    }

    fn is_chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|how| how.to_ascii_lowercase().contains("chunked"))
    }

    /// Whether an answer, or its sender's wish, ends the connection.
    fn ends_with_connection(&self) -> bool {
        let wants = self.field("connection").is_some_and(|wish| wish.eq_ignore_ascii_case("close"));
        wants || (self.method == "HTTP/1.0") || !(self.is_chunked() || self.field("content-length").is_some())
    }

    /// The body behind it. Only an answer's may last until the connection ends.
    fn body(&self, reader: &mut impl BufRead, is_answer: bool) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if self.is_chunked() {
            while read_chunk(reader, &mut body)? {}
        } else if let Some(length) = self.field("content-length") {
            let length: u64 = length.parse().map_err(|_unreadable| io::ErrorKind::InvalidData)?;
            if u64::try_from(reader.take(length).read_to_end(&mut body)?) != Ok(length) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        } else if is_answer {
            reader.read_to_end(&mut body)?;
        }
        Ok(body)
    }
}

/// Reads a chunk as it is on the wire. The last one is followed by fields, and says false.
fn read_chunk(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<bool> {
    let begin = body.len();
    reader.read_until(b'\n', body)?;
    let line = String::from_utf8_lossy(&body[begin..]);
    let digits = line.split(';').next().unwrap_or_default().trim();
    let length = u64::from_str_radix(digits, 16).map_err(|_unreadable| io::ErrorKind::InvalidData)?;
    if length > 0 {
        // And the end of the line behind it.
        reader.take(length + 2).read_to_end(body)?;
        return Ok(true);
    }
    loop {
        let begin = body.len();
        if reader.read_until(b'\n', body)? == 0 || matches!(&body[begin..], b"\r\n" | b"\n") {
            return Ok(false);
        }
    }
}
