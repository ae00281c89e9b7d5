//! An HTTP Event Collector of our own: it speaks indexer acknowledgement as Splunk does, and misbehaves on command.
//!
//! It keeps what the sink rests on: a number for each request, counted by channel from 0 and forgotten at a restart; an
//! acknowledgement that is told once; events that are received and not indexed yet, which a restart loses; the codes and
//! texts of Splunk's documentation. What a client must never do is written down in `violations`.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

/// The token that it takes.
pub(crate) const TOKEN: &str = "11111111-SECRET-NEVER-SHOW-222222222";

/// What it does to one request with events.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It answers this: status, code (0: a page of somebody else) and text.
    Answer(u16, u16, &'static str),
    /// It takes the events, and the connection ends without an answer.
    LoseAnswer,
    /// The connection ends before anything is taken.
    Reset,
    /// It takes the events and says 200 without a number.
    NoNumber,
}

/// What a test sets and reads.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Envelopes that are indexed, in this order.
    pub(crate) indexed: Vec<Value>,
    /// Received, with channel and number, and not indexed.
    pending: Vec<(String, u64, Vec<Value>)>,
    /// By channel: whether each number is acknowledged; none: that was told.
    channels: BTreeMap<String, Vec<Option<bool>>>,
    /// Nothing is indexed while this is set.
    pub(crate) holds: bool,
    /// The token has no acknowledgement.
    pub(crate) no_acknowledgement: bool,
    pub(crate) disabled: bool,
    /// Indexes that the token may write to; empty: all.
    pub(crate) indexes: Vec<String>,
    /// An event that contains this is refused, with its number or without.
    pub(crate) poison: Vec<String>,
    pub(crate) names_nobody: bool,
    /// For the next requests with events, one each.
    pub(crate) next: VecDeque<Fault>,
    /// For every one, as long as it stands.
    pub(crate) standing: Option<Fault>,
    /// For the next questions for acknowledgements: the answer is lost, or is this.
    pub(crate) next_question: VecDeque<Fault>,
    /// What its health is.
    pub(crate) health: Option<(u16, u16)>,
    /// A load balancer's cookie, which must come back.
    pub(crate) cookie: Option<&'static str>,
    /// How many events each request had that was understood.
    pub(crate) requests: Vec<usize>,
    pub(crate) questions: usize,
    pub(crate) violations: Vec<String>,
}

impl State {
    /// Everything that was received is indexed.
    fn index(&mut self) {
        for (channel, number, events) in std::mem::take(&mut self.pending) {
            if let Some(told) = self.channels.get_mut(&channel).and_then(|told| told.get_mut(number as usize)) {
                *told = Some(true);
            }
            self.indexed.extend(events);
        }
    }

    /// It crashes and starts again.
    pub(crate) fn restart(&mut self) {
        self.pending.clear();
        self.channels.clear();
    }

    /// How many requests are received and not indexed.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What was held is indexed, and all that follows.
    pub(crate) fn release(&mut self) {
        self.holds = false;
        self.index();
    }
}

/// See the module.
pub(crate) struct Collector {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
}

impl Collector {
    pub(crate) fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                thread(move || serve(&connection, &shared));
            }
        });
        Collector { address, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Ends with its connection, or with the test process.
fn thread(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().spawn(run).unwrap();
}

#[derive(Default)]
struct Request {
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

enum Reply {
    Answer(u16, String),
    Hang,
}

fn reply(status: u16, code: u16, text: &str) -> Reply {
    if code == 0 && status != 200 {
        return Reply::Answer(status, format!("<html>{text}</html>"));
    }
    Reply::Answer(status, json!({"text": text, "code": code}).to_string())
}

fn serve(connection: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(connection);
    while let Some(request) = read(&mut reader) {
        let mut state = state.lock().unwrap();
        let path = request.target.split('?').next().unwrap_or_default();
        let answer = match (request.method.as_str(), path) {
            ("GET", "/services/collector/health") => match state.health {
                Some((status, code)) => reply(status, code, "HEC is unhealthy"),
                None => reply(200, 17, "HEC is healthy"),
            },
            ("POST", "/services/collector/event") => {
                log_in(&state, &request).unwrap_or_else(|| events(&request, &mut state))
            }
            ("POST", "/services/collector/ack") => {
                log_in(&state, &request).unwrap_or_else(|| acks(&request, &mut state))
            }
            _ => reply(404, 0, "The requested URL was not found on this server."),
        };
        let cookie = state.cookie.map(|cookie| format!("Set-Cookie: {cookie}; Path=/\r\n")).unwrap_or_default();
        drop(state);
        let Reply::Answer(status, body) = answer else {
            let _ = connection.shutdown(Shutdown::Both);
            return;
        };
        let head = format!(
            "HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\n{cookie}Content-Length: {}\r\n\r\n",
            body.len()
        );
        if (&mut &*connection).write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split(' ').map(str::to_owned);
    let mut request = Request { method: words.next()?, target: words.next()?, ..Request::default() };
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    request.body = vec![0; request.header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut request.body).ok()?;
    if request.header("content-encoding") == "gzip" {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&request.body[..]).read_to_end(&mut plain).unwrap();
        request.body = plain;
    }
    Some(request)
}

fn log_in(state: &State, request: &Request) -> Option<Reply> {
    match request.header("authorization").strip_prefix("Splunk ") {
        None => Some(reply(401, 2, "Token is required")),
        Some(token) if token != TOKEN => Some(reply(403, 4, "Invalid token")),
        Some(_) if state.disabled => Some(reply(403, 1, "Token disabled")),
        Some(_) => None,
    }
}

fn is_guid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn events(request: &Request, state: &mut State) -> Reply {
    let channel = request.header("x-splunk-request-channel").to_owned();
    match channel.as_str() {
        "" if !state.no_acknowledgement => return reply(400, 10, "Data channel is missing"),
        channel if !channel.is_empty() && !is_guid(channel) => return reply(400, 11, "Invalid data channel"),
        _ => {}
    }
    let values = serde_json::Deserializer::from_slice(&request.body).into_iter::<Value>();
    let values: Vec<Value> = match values.collect() {
        Ok(values) => values,
        Err(_) => return reply(400, 6, "Invalid data format"),
    };
    if values.is_empty() {
        return reply(400, 5, "No data");
    }
    state.requests.push(values.len());
    if request.body.len() > 1_000_000 && values.len() > 1 {
        let bytes = request.body.len();
        state.violations.push(format!("a request of {bytes} bytes"));
    }
    check_cookie(&channel, request, state);
    let fault = state.next.pop_front().or_else(|| state.standing.clone());
    match fault {
        Some(Fault::Answer(status, code, text)) => return reply(status, code, text),
        Some(Fault::Reset) => return Reply::Hang,
        Some(Fault::LoseAnswer | Fault::NoNumber) | None => {}
    }
    if request.body.len() > 1_000_000 {
        return reply(413, 0, "Request Entity Too Large");
    }
    if let Some((number, code, text)) = wrong_event(&values, state) {
        let mut body = json!({"text": text, "code": code});
        if !state.names_nobody {
            body["invalid-event-number"] = number.into();
        }
        return Reply::Answer(400, body.to_string());
    }
    let number = take(channel, values, state);
    match fault {
        Some(Fault::LoseAnswer) => Reply::Hang,
        Some(Fault::NoNumber) => reply(200, 0, "Success"),
        _ if state.no_acknowledgement => reply(200, 0, "Success"),
        _ => Reply::Answer(200, json!({"text": "Success", "code": 0, "ackId": number}).to_string()),
    }
}

fn take(channel: String, values: Vec<Value>, state: &mut State) -> u64 {
    let numbers = state.channels.entry(channel.clone()).or_default();
    let number = numbers.len() as u64;
    numbers.push(Some(false));
    state.pending.push((channel, number, values));
    if !state.holds {
        state.index();
    }
    number
}

/// The first event that Splunk would not take.
fn wrong_event(values: &[Value], state: &State) -> Option<(usize, u16, &'static str)> {
    values.iter().enumerate().find_map(|(number, value)| {
        let is_text = |name: &str| value[name].as_str().is_some_and(|text| !text.is_empty());
        let fields = value["fields"].as_object();
        let index = value["index"].as_str();
        let is_poison = state.poison.iter().any(|poison| value["event"].to_string().contains(poison));
        if value.get("event").is_none() {
            Some((number, 12, "Event field is required"))
        } else if is_poison
            || !value["time"].is_number()
            || !["host", "source", "sourcetype"].iter().all(|name| is_text(name))
        {
            Some((number, 6, "Invalid data format"))
        } else if fields.is_none_or(|fields| !fields.values().all(Value::is_string)) {
            Some((number, 15, "Error in handling indexed fields"))
        } else if index
            .is_some_and(|index| !state.indexes.is_empty() && !state.indexes.iter().any(|known| known == index))
        {
            Some((number, 7, "Incorrect index"))
        } else {
            None
        }
    })
}

/// Once a channel has been answered it has the cookie.
fn check_cookie(channel: &str, request: &Request, state: &mut State) {
    let is_told = state.channels.get(channel).is_some_and(|numbers| !numbers.is_empty());
    if is_told && state.cookie.is_some_and(|cookie| request.header("cookie") != cookie) {
        state.violations.push(format!("the cookie `{}`", request.header("cookie")));
    }
}

fn acks(request: &Request, state: &mut State) -> Reply {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let asked: Vec<u64> = body["acks"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect();
    let channel = request.target.split_once("?channel=").map_or("", |(_, channel)| channel);
    if channel != request.header("x-splunk-request-channel") {
        state.violations.push(format!("a question on two channels: {}", request.target));
    }
    if state.no_acknowledgement {
        return reply(400, 14, "ACK is disabled");
    }
    if !is_guid(channel) {
        return reply(400, 10, "Data channel is missing");
    }
    state.questions += 1;
    check_cookie(channel, request, state);
    let fault = state.next_question.pop_front();
    if let Some(Fault::Answer(status, code, text)) = fault {
        return reply(status, code, text);
    }
    let numbers = state.channels.entry(channel.to_owned()).or_default();
    let mut answer = serde_json::Map::new();
    for number in asked {
        let told = numbers.get_mut(number as usize);
        let is_indexed = told.as_ref().is_some_and(|told| **told == Some(true));
        if let Some(told) = told.filter(|_| is_indexed) {
            *told = None;
        }
        answer.insert(number.to_string(), is_indexed.into());
    }
    if fault.is_some() {
        return Reply::Hang;
    }
    Reply::Answer(200, json!({"acks": answer}).to_string())
}
