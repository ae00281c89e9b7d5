//! moto as three accounts see it, behind a proxy of ours that throttles, breaks off, denies and adds secrets.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::stack;

/// What the proxy writes where AWS has pre-shared keys.
pub(crate) const SECRET: &str = "NEVER-SHOW-THIS-PRE-SHARED-KEY";

/// A request that came by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// `DescribeVpnConnections`, `AssumeRole`, `ListAccounts`.
    pub(crate) action: String,
    /// Whose credentials, or whose role; empty: the process's own.
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) body: String,
}

/// What becomes of it.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Pass,
    Answer(u16, &'static str),
    /// The answer's first half, as if it were whole.
    Half,
    /// The connection ends in the middle of the answer.
    BreaksOff,
    /// There is none, until the client gives up.
    Never,
}

pub(crate) const THROTTLED: Verdict = Verdict::Answer(
    503,
    "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message></Error></Errors></Response>",
);
pub(crate) const DENIED: Verdict = Verdict::Answer(
    403,
    "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>",
);

type Rule = Box<dyn FnMut(&Request) -> Verdict + Send>;

#[derive(Default)]
struct State {
    rule: Option<Rule>,
    seen: Vec<Request>,
    accounts: HashMap<String, String>,
}

/// In front of moto; its thread ends with the test's process.
pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    pub(crate) fn start() -> Proxy {
        let moto = stack::moto().endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let serve = move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (moto, state) = (moto.clone(), Arc::clone(&shared));
                let one = move || drop(serve_one(connection, &moto, &state));
                std::thread::Builder::new().spawn(one).unwrap();
            }
        };
        std::thread::Builder::new().spawn(serve).unwrap();
        Proxy { endpoint, state }
    }

    /// From now on.
    pub(crate) fn rule(&self, rule: impl FnMut(&Request) -> Verdict + Send + 'static) {
        self.state.lock().unwrap().rule = Some(Box::new(rule));
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.state.lock().unwrap().seen.clone()
    }
}

/// Head and body of a request or an answer whose length is told, or that ends with its connection.
fn read_message(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = head {
            let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = header(&text, "content-length").and_then(|length| length.parse().ok());
            if length.is_some_and(|length: usize| bytes.len() >= end + 4 + length) {
                return Ok((text, bytes[end + 4..].to_vec()));
            }
        }
        match stream.read(&mut chunk)? {
            0 => {
                let end = head.ok_or(std::io::ErrorKind::UnexpectedEof)?;
                return Ok((String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes[end + 4..].to_vec()));
            }
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

pub(crate) fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}

fn serve_one(mut client: TcpStream, moto: &str, state: &Mutex<State>) -> std::io::Result<()> {
    let (head, body) = read_message(&mut client)?;
    let text = String::from_utf8_lossy(&body).into_owned();
    let scope = header(&head, "authorization").and_then(|value| between(value, "Credential=", "/aws4_request"));
    let mut scope = scope.unwrap_or_default().split('/');
    let (key, region) = (scope.next().unwrap_or_default(), scope.nth(1).unwrap_or_default());
    let action = match header(&head, "x-amz-target") {
        Some(target) => target.rsplit('.').next().unwrap_or_default().to_owned(),
        None => between(&format!("{text}&"), "Action=", "&").unwrap_or_default().to_owned(),
    };
    let role = between(&text, "RoleArn=arn%3Aaws%3Aiam%3A%3A", "%3A").map(str::to_owned);
    let request = {
        let mut state = state.lock().unwrap();
        let account = role.clone().or_else(|| state.accounts.get(key).cloned()).unwrap_or_default();
        let request = Request { action, account, region: region.to_owned(), body: text };
        state.seen.push(request.clone());
        request
    };
    let verdict = state.lock().unwrap().rule.as_mut().map_or(Verdict::Pass, |rule| rule(&request));
    if let Verdict::Answer(status, body) = verdict {
        return write!(
            client,
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
    if matches!(verdict, Verdict::Never) {
        client.set_read_timeout(None)?;
        return client.read(&mut [0; 16]).map(drop);
    }
    let mut upstream = TcpStream::connect(moto)?;
    let head = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head = head.collect::<Vec<_>>().join("\r\n");
    upstream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes())?;
    upstream.write_all(&body)?;
    let (answer_head, answer) = read_message(&mut upstream)?;
    let answer = String::from_utf8_lossy(&answer).replace("notreal", SECRET).replace(
        "<category>VPN</category>",
        &format!("<category>VPN</category><customerGatewayConfiguration>{SECRET}</customerGatewayConfiguration>"),
    );
    if let (Some(role), Some(key)) = (role, between(&answer, "<AccessKeyId>", "</AccessKeyId>")) {
        state.lock().unwrap().accounts.insert(key.to_owned(), role);
    }
    let status = answer_head.split(' ').nth(1).unwrap_or("500").to_owned();
    let (told, sent) = match verdict {
        Verdict::Half => (answer.len() / 2, answer.len() / 2),
        Verdict::BreaksOff => (answer.len(), answer.len() / 2),
        _ => (answer.len(), answer.len()),
    };
    write!(client, "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {told}\r\n\r\n")?;
    client.write_all(&answer.as_bytes()[..sent])
}

/// One account of moto's, made by taking on a role in it.
pub(crate) struct Account {
    pub(crate) id: String,
    key: String,
}

impl Account {
    /// An account that no other test has.
    pub(crate) fn new() -> Account {
        let number = u64::from_str_radix(stack::unique("a").rsplit('-').next().unwrap(), 16).unwrap();
        let id = format!("{:012}", 100_000_000_000 + number % 800_000_000_000);
        let body = format!(
            "Action=AssumeRole&Version=2011-06-15&RoleSessionName=test&RoleArn=arn%3Aaws%3Aiam%3A%3A{id}%3Arole%2Ftest"
        );
        let answer = post("any", "us-east-1", "sts", "", &body);
        Account { key: between(&answer, "<AccessKeyId>", "</AccessKeyId>").unwrap().to_owned(), id }
    }

    /// A call of EC2's; the answer's XML.
    pub(crate) fn ec2(&self, region: &str, action: &str, parameters: &[(&str, &str)]) -> String {
        let mut body = format!("Action={action}&Version=2016-11-15");
        parameters.iter().for_each(|(name, value)| body.push_str(&format!("&{name}={value}")));
        post(&self.key, region, "ec2", "", &body)
    }

    fn made(&self, region: &str, action: &str, element: &str, parameters: &[(&str, &str)]) -> String {
        let answer = self.ec2(region, action, parameters);
        let (before, after) = (format!("<{element}>"), format!("</{element}>"));
        between(&answer, &before, &after).unwrap_or_else(|| panic!("{action}: {answer}")).to_owned()
    }

    pub(crate) fn tag(&self, region: &str, id: &str, key: &str, value: &str) {
        self.ec2(region, "CreateTags", &[("ResourceId.1", id), ("Tag.1.Key", key), ("Tag.1.Value", value)]);
    }

    /// A connection with a customer gateway and a transit gateway, all named.
    pub(crate) fn connection(&self, region: &str, name: &str) -> String {
        let customer = self.made(
            region,
            "CreateCustomerGateway",
            "customerGatewayId",
            &[("Type", "ipsec.1"), ("BgpAsn", "65010"), ("IpAddress", "198.51.100.7")],
        );
        let transit = self.made(region, "CreateTransitGateway", "transitGatewayId", &[("Description", "core")]);
        let connection = self.made(
            region,
            "CreateVpnConnection",
            "vpnConnectionId",
            &[("Type", "ipsec.1"), ("CustomerGatewayId", &customer), ("TransitGatewayId", &transit)],
        );
        self.tag(region, &customer, "Name", &format!("{name}-fw"));
        self.tag(region, &transit, "Name", &format!("{name}-tgw"));
        self.tag(region, &connection, "Name", name);
        self.tag(region, &connection, "env", "prod");
        connection
    }

    /// The outside addresses of a connection's tunnels, in their order.
    pub(crate) fn outside(&self, region: &str, connection: &str) -> Vec<String> {
        let answer = self.ec2(region, "DescribeVpnConnections", &[("VpnConnectionId.1", connection)]);
        let options = between(&answer, "<tunnelOptionSet>", "</tunnelOptionSet>").unwrap();
        let parts = options.split("<outsideIpAddress>").skip(1);
        parts.map(|part| part.split('<').next().unwrap().to_owned()).collect()
    }
}

/// A call of Organizations', in moto's own account.
pub(crate) fn organizations(operation: &str, body: &str) -> String {
    let target = format!("X-Amz-Target: AWSOrganizationsV20161128.{operation}\r\n");
    post("any", "us-east-1", "organizations", &target, body)
}

fn post(key: &str, region: &str, service: &str, headers: &str, body: &str) -> String {
    let host = stack::moto().endpoint.trim_start_matches("http://").to_owned();
    let kind = if headers.is_empty() { "application/x-www-form-urlencoded" } else { "application/x-amz-json-1.1" };
    let mut stream = TcpStream::connect(&host).unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {kind}\r\n{headers}Authorization: AWS4-HMAC-SHA256 \
         Credential={key}/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    String::from_utf8(read_message(&mut stream).unwrap().1).unwrap()
}
