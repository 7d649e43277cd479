//! A web service: notes over HTTP, with tags, pages, and updates that do not overwrite each other.
//!
//! `cargo run --example web_service --features json -- notes.tenure 127.0.0.1:8080`, then
//!
//! ```sh
//! curl -d '{"text":"buy milk","tags":["home"]}' localhost:8080/notes
//! curl -i localhost:8080/notes/0.1
//! curl -X PUT -H 'If-Match: "3"' -d '{"text":"buy bread","tags":["home"]}' localhost:8080/notes/0.1
//! curl 'localhost:8080/notes?tag=home'
//! curl -X DELETE localhost:8080/notes/0.1
//! ```
//!
//! `If-Match` names the version that `ETag` shows: 3 for the first note of a new store.
//!
//! Without arguments it serves a temporary store, sends itself these requests, and exits.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "an example shows what it does, and stops if it does not")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;

use serde::{Deserialize, Serialize};
use serde_json::{Value as JsonValue, json};
use tenure::typed::{Id, IndexDefinition, Json, SetDefinition, TypedIndex, TypedSet};
use tenure::{Error, RecordId, Seq, Store};
use tiny_http::{Header, Method, Request, Response, Server};

/// Number of threads that answer requests.
const WORKERS: usize = 4;
/// Maximum size of a body in bytes.
const BODY_BYTES_MAX: u64 = 1 << 20;
/// Notes per page.
const PAGE: usize = 50;

#[derive(Serialize, Deserialize)]
struct NoteRecord {
    text: String,
    #[serde(default)]
    tags: Vec<String>,
}

type Note = Json<NoteRecord>;

const NOTES: SetDefinition<Note> = SetDefinition::new("notes");
const BY_TAG: IndexDefinition<Note, &str> =
    IndexDefinition::new("tag", 1, |note, put| note.tags.iter().for_each(|tag| put(tag)));

/// Shared by all workers. A store is a cheap handle; transactions and views of different threads run concurrently.
struct Service {
    store: Store,
    notes: TypedSet<Note>,
    by_tag: TypedIndex<Note, &'static str>,
}

/// An answer: its status, its JSON, and the version of the note that it shows.
type Answer = (u16, JsonValue, Option<Seq>);

impl Service {
    fn open(store: Store) -> tenure::Result<Self> {
        let notes = store.typed_set(NOTES)?;
        let by_tag = store.typed_index(&notes, BY_TAG)?;
        Ok(Self { store, notes, by_tag })
    }

    fn answer(&self, request: &mut Request) -> Answer {
        let url = request.url().to_owned();
        let (path, query) = url.split_once('?').unwrap_or((&url, ""));
        let answer = match (request.method().clone(), path.strip_prefix("/notes")) {
            (Method::Get, Some("")) => self.list(query),
            (Method::Post, Some("")) => body(request).and_then(|note| self.create(&note)),
            (method, Some(rest)) => match rest.strip_prefix('/').and_then(|id| id.parse().ok()) {
                Some(id) => match method {
                    Method::Get => self.show(id),
                    Method::Put => body(request).and_then(|note| self.replace(id, if_match(request), &note)),
                    Method::Delete => self.delete(id),
                    _ => Ok((405, json!({"error": "GET, PUT or DELETE"}), None)),
                },
                None => Ok((404, json!({"error": "a note's ID looks like 12.1"}), None)),
            },
            _ => Ok((404, json!({"error": "see /notes"}), None)),
        };
        answer.unwrap_or_else(|error| {
            let status = match &error {
                Error::Deleted { .. } => 410,
                Error::NeverAllocated { .. } | Error::WrongSet { .. } => 404,
                Error::VersionMismatch { .. } => 412,
                Error::BadValue { .. } | Error::TooLarge { .. } => 400,
                Error::NoSpace { .. } => 507,
                _ => 500,
            };
            (status, json!({"error": error.to_string()}), None)
        })
    }

    fn create(&self, note: &Note) -> tenure::Result<Answer> {
        let id = self.store.write(|tx| self.notes.insert(tx, note))?;
        Ok((201, json!({"id": id}), None))
    }

    fn show(&self, id: RecordId) -> tenure::Result<Answer> {
        let view = self.store.view();
        // An ID of another set is not a note.
        let record = view.get_in(self.notes.record_set(), id)?;
        let note: JsonValue = serde_json::from_slice(&record.bytes()?).map_err(Error::bad_value::<Note>)?;
        Ok((200, note, Some(record.seq())))
    }

    /// Compares the version that the client has seen, so that no concurrent change is overwritten.
    fn replace(&self, id: RecordId, seen: Option<Seq>, note: &Note) -> tenure::Result<Answer> {
        let Some(seen) = seen else {
            return Ok((428, json!({"error": "send the ETag of the note as If-Match"}), None));
        };
        let bytes = serde_json::to_vec(&**note).map_err(Error::bad_value::<Note>)?;
        self.store.view().get_in(self.notes.record_set(), id)?;
        self.store.write(|tx| tx.update_if(id, seen, &bytes))?;
        self.show(id)
    }

    fn delete(&self, id: RecordId) -> tenure::Result<Answer> {
        let id: Id<Note> = self.notes.id(&self.store.view(), id)?;
        self.store.write(|tx| self.notes.delete(tx, id))?;
        Ok((200, json!({}), None))
    }

    /// `?tag=home`: the notes with a tag. `?after=12.1`: the page after a note; the order of IDs does not change.
    fn list(&self, query: &str) -> tenure::Result<Answer> {
        let parameter = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
                .map(|(_, value)| value)
        };
        let after: Option<RecordId> = parameter("after").and_then(|id| id.parse().ok());
        let view = self.store.view();
        let mut found = Vec::new();
        let mut push = |entry: tenure::Result<(Id<Note>, Note)>| -> tenure::Result<bool> {
            let (id, note) = entry?;
            if after.is_none_or(|after| id.record_id() > after) {
                found.push(json!({"id": id, "text": note.text, "tags": note.tags}));
            }
            Ok(found.len() < PAGE)
        };
        if let Some(tag) = parameter("tag") {
            for entry in self.by_tag.find(&view, tag)?.values(&view) {
                if !push(entry)? {
                    break;
                }
            }
        } else {
            for entry in self.notes.scan(&view) {
                if !push(entry)? {
                    break;
                }
            }
        }
        Ok((200, json!(found), None))
    }
}

/// Parses a note from a request's body; a body that is too long is not read to its end.
fn body(request: &mut Request) -> tenure::Result<Note> {
    let mut text = Vec::new();
    request.as_reader().take(BODY_BYTES_MAX).read_to_end(&mut text).map_err(Error::bad_value::<Note>)?;
    serde_json::from_slice(&text).map(Json).map_err(Error::bad_value::<Note>)
}

/// The version in `If-Match: "42"`.
fn if_match(request: &Request) -> Option<Seq> {
    let header = request.headers().iter().find(|header| header.field.equiv("If-Match"))?;
    header.value.as_str().trim_matches('"').parse().ok().map(Seq)
}

fn respond(service: &Service, mut request: Request) -> std::io::Result<()> {
    let (status, body, version) = service.answer(&mut request);
    let json = Header::from_bytes("Content-Type", "application/json").expect("ASCII");
    let mut response = Response::from_string(format!("{body}\n")).with_status_code(status).with_header(json);
    if let Some(Seq(version)) = version {
        response.add_header(Header::from_bytes("ETag", format!("\"{version}\"")).expect("ASCII"));
    }
    request.respond(response)
}

/// Answers requests until the server is unblocked.
fn serve(service: &Arc<Service>, server: &Arc<Server>) -> Vec<thread::JoinHandle<()>> {
    let worker = |_| {
        let (service, server) = (Arc::clone(service), Arc::clone(server));
        // Each thread may block: on the disk, and on the sync of its commit, which it shares with others.
        thread::spawn(move || {
            while let Ok(request) = server.recv() {
                // A client that disconnected is no reason to stop.
                if let Err(error) = respond(&service, request) {
                    println!("not answered: {error}");
                }
            }
        })
    };
    (0..WORKERS).map(worker).collect()
}

/// One request, like `curl -i`.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n{headers}\r\n{body}").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("received");
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, text)
}

fn main() {
    let mut args = std::env::args().skip(1);
    if let (Some(path), Some(address)) = (args.next(), args.next()) {
        let service = Arc::new(Service::open(Store::open(path).expect("the store opens")).expect("it opens"));
        let server = Arc::new(Server::http(address).expect("the address is free"));
        for worker in serve(&service, &server) {
            worker.join().expect("no panic");
        }
    } else {
        tour();
    }
}

/// Serves a temporary store, and sends itself requests.
pub fn tour() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path().join("notes.tenure")).expect("the store opens");
    let service = Arc::new(Service::open(store).expect("it opens"));
    let server = Arc::new(Server::http("127.0.0.1:0").expect("a free port"));
    let address = server.server_addr().to_ip().expect("TCP");
    let workers = serve(&service, &server);

    let (status, made) = ask(address, "POST", "/notes", "", r#"{"text":"buy milk","tags":["home"]}"#);
    assert_eq!(status, 201, "{made}");
    assert!(made.contains(r#"{"id":"0.1"}"#), "{made}");
    let (status, shown) = ask(address, "GET", "/notes/0.1", "", "");
    assert_eq!(status, 200, "{shown}");
    let tag = shown.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("a version");
    let condition = format!("If-Match: {tag}\r\n");
    let bread = r#"{"text":"buy bread","tags":["home"]}"#;
    assert_eq!(ask(address, "PUT", "/notes/0.1", &condition, bread).0, 200);
    // The same version again: another client was faster.
    assert_eq!(ask(address, "PUT", "/notes/0.1", &condition, bread).0, 412);
    assert_eq!(ask(address, "PUT", "/notes/0.1", "", bread).0, 428);
    let (status, home) = ask(address, "GET", "/notes?tag=home", "", "");
    assert!(status == 200 && home.contains("buy bread"), "{home}");
    assert_eq!(ask(address, "POST", "/notes", "", "no JSON").0, 400);
    assert_eq!(ask(address, "DELETE", "/notes/0.1", "", "").0, 200);
    assert_eq!(ask(address, "GET", "/notes/0.1", "", "").0, 410);
    assert_eq!(ask(address, "GET", "/notes/77.1", "", "").0, 404);
    println!("{home}");

    for _ in 0..WORKERS {
        server.unblock();
    }
    for worker in workers {
        worker.join().expect("no panic");
    }
}
