//! Reads EC2's XML into the JSON that the AWS CLI prints, so that everything behind it knows one form only.
//!
//! Invariants:
//! - Only what a table below names is read. `customerGatewayConfiguration` and `preSharedKey` have no row: they
//!   are skipped between their tags and never become a value of this program.
//! - What is unknown is ignored; what is known and twice counts once.
//! - No error carries text of the answer, only a place in it.
//! - An answer that stops in the middle is an error: half of it would make the other half "missing".

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

/// What is wrong with an answer. No variant carries its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum XmlError {
    /// It stops in the middle.
    #[error("the answer ends early, at byte {0}")]
    EndsEarly(u64),
    /// It is no XML, or breaks off within a tag.
    #[error("the answer is damaged at byte {0}")]
    Damaged(u64),
    /// It is XML of something else.
    #[error("the answer is not `{0}`")]
    Other(&'static str),
}

/// How an element becomes JSON.
enum Node {
    Text,
    Object(&'static [Field]),
    /// Of `item` elements.
    List(&'static [Field]),
}

/// An element that is read, and the AWS CLI's name for it.
struct Field(&'static str, &'static str, Node);

/// One kind of answer.
pub(super) struct Form {
    /// The element around it all.
    root: &'static str,
    /// The element with the items.
    set: &'static str,
    /// The AWS CLI's name of that list.
    pub(super) list: &'static str,
    item: &'static [Field],
}

const TAGS: Field = Field("tagSet", "Tags", Node::List(&[text("key", "Key"), text("value", "Value")]));

const fn text(xml: &'static str, json: &'static str) -> Field {
    Field(xml, json, Node::Text)
}

/// `DescribeVpnConnections`.
pub(super) const VPN_CONNECTIONS: Form = Form {
    root: "DescribeVpnConnectionsResponse",
    set: "vpnConnectionSet",
    list: "VpnConnections",
    item: &[
        text("vpnConnectionId", "VpnConnectionId"),
        text("state", "State"),
        text("type", "Type"),
        text("category", "Category"),
        text("customerGatewayId", "CustomerGatewayId"),
        text("vpnGatewayId", "VpnGatewayId"),
        text("transitGatewayId", "TransitGatewayId"),
        text("coreNetworkArn", "CoreNetworkArn"),
        text("vpnConcentratorId", "VpnConcentratorId"),
        Field(
            "options",
            "Options",
            Node::Object(&[
                text("staticRoutesOnly", "StaticRoutesOnly"),
                text("outsideIpAddressType", "OutsideIpAddressType"),
                text("tunnelInsideIpVersion", "TunnelInsideIpVersion"),
                text("transportTransitGatewayAttachmentId", "TransportTransitGatewayAttachmentId"),
                Field(
                    "tunnelOptionSet",
                    "TunnelOptions",
                    Node::List(&[
                        text("outsideIpAddress", "OutsideIpAddress"),
                        text("tunnelInsideCidr", "TunnelInsideCidr"),
                        text("tunnelInsideIpv6Cidr", "TunnelInsideIpv6Cidr"),
                    ]),
                ),
            ]),
        ),
        TAGS,
        Field(
            "vgwTelemetry",
            "VgwTelemetry",
            Node::List(&[
                text("outsideIpAddress", "OutsideIpAddress"),
                text("status", "Status"),
                text("acceptedRouteCount", "AcceptedRouteCount"),
            ]),
        ),
    ],
};

/// `DescribeCustomerGateways`.
pub(super) const CUSTOMER_GATEWAYS: Form = Form {
    root: "DescribeCustomerGatewaysResponse",
    set: "customerGatewaySet",
    list: "CustomerGateways",
    item: &[
        text("customerGatewayId", "CustomerGatewayId"),
        text("bgpAsn", "BgpAsn"),
        text("bgpAsnExtended", "BgpAsnExtended"),
        text("ipAddress", "IpAddress"),
        text("deviceName", "DeviceName"),
        TAGS,
    ],
};

/// `DescribeVpnGateways`.
pub(super) const VPN_GATEWAYS: Form = Form {
    root: "DescribeVpnGatewaysResponse",
    set: "vpnGatewaySet",
    list: "VpnGateways",
    item: &[
        text("vpnGatewayId", "VpnGatewayId"),
        text("amazonSideAsn", "AmazonSideAsn"),
        Field("attachments", "VpcAttachments", Node::List(&[text("state", "State"), text("vpcId", "VpcId")])),
        TAGS,
    ],
};

/// `DescribeTransitGateways`.
pub(super) const TRANSIT_GATEWAYS: Form = Form {
    root: "DescribeTransitGatewaysResponse",
    set: "transitGatewaySet",
    list: "TransitGateways",
    item: &[
        text("transitGatewayId", "TransitGatewayId"),
        text("transitGatewayArn", "TransitGatewayArn"),
        text("ownerId", "OwnerId"),
        Field("options", "Options", Node::Object(&[text("amazonSideAsn", "AmazonSideAsn")])),
        TAGS,
    ],
};

/// Appends the items of an answer to `json`, each followed by a comma, and returns the token of the next page.
///
/// # Errors
/// [`XmlError`]; what was appended then is to be thrown away.
pub(super) fn read(form: &Form, xml: &[u8], json: &mut String) -> Result<Option<String>, XmlError> {
    let mut walk = Walk::new(xml, json);
    match walk.next()? {
        Step::Start(name) if name == form.root => {}
        _ => return Err(XmlError::Other(form.root)),
    }
    let (mut token, mut has_set) = (None, false);
    while let Step::Start(name) = walk.next()? {
        match name.as_str() {
            set if set == form.set && !has_set => {
                has_set = true;
                walk.items(form.item)?;
            }
            "nextToken" => token = Some(walk.text()?).filter(|token| !token.is_empty()),
            _ => walk.skip()?,
        }
    }
    // An empty account answers with an empty set; an answer without one says nothing.
    if has_set { Ok(token) } else { Err(XmlError::Other(form.root)) }
}

/// Code and message of an error answer, in the forms of EC2 and of the other Query services.
pub(super) fn error(xml: &[u8]) -> Option<(String, String)> {
    let mut unused = String::new();
    let mut walk = Walk::new(xml, &mut unused);
    let (mut code, mut message) = (None, None);
    while code.is_none() || message.is_none() {
        match walk.next_anywhere().ok()? {
            Some(name) if name == "Code" => code = walk.text().ok(),
            Some(name) if name == "Message" => message = walk.text().ok(),
            Some(_) => {}
            None => break,
        }
    }
    Some((code?, message.unwrap_or_default()))
}

/// A way through the elements that never looks back.
struct Walk<'a> {
    reader: Reader<&'a [u8]>,
    json: &'a mut String,
    /// Elements that are open: names of those that are read, so that a skip knows its end.
    open: Vec<String>,
}

enum Step {
    Start(String),
    End,
}

impl<'a> Walk<'a> {
    fn new(xml: &'a [u8], json: &'a mut String) -> Walk<'a> {
        let mut reader = Reader::from_reader(xml);
        reader.config_mut().expand_empty_elements = true;
        Walk { reader, json, open: Vec::new() }
    }

    fn event(&mut self) -> Result<Event<'a>, XmlError> {
        match self.reader.read_event() {
            Ok(Event::Eof) => Err(XmlError::EndsEarly(self.reader.buffer_position())),
            Ok(event) => Ok(event),
            Err(_) => Err(XmlError::Damaged(self.reader.error_position())),
        }
    }

    /// The next element, or the end of the one that is open; text between them means nothing.
    fn next(&mut self) -> Result<Step, XmlError> {
        loop {
            match self.event()? {
                Event::Start(start) => {
                    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
                    self.open.push(String::from_utf8_lossy(start.name().as_ref()).into_owned());
                    return Ok(Step::Start(name));
                }
                Event::End(_) => {
                    self.open.pop();
                    return Ok(Step::End);
                }
                _ => {}
            }
        }
    }

    /// The next element at any depth; `None` at the end of the last one.
    fn next_anywhere(&mut self) -> Result<Option<String>, XmlError> {
        loop {
            match self.next()? {
                Step::Start(name) => return Ok(Some(name)),
                Step::End if self.open.is_empty() => return Ok(None),
                Step::End => {}
            }
        }
    }

    /// Over the rest of the element that is open: nothing in it is looked at.
    fn skip(&mut self) -> Result<(), XmlError> {
        let name = self.open.pop().unwrap_or_default();
        match self.reader.read_to_end(quick_xml::name::QName(name.as_bytes())) {
            Ok(_) => Ok(()),
            Err(_) => Err(XmlError::EndsEarly(self.reader.error_position())),
        }
    }

    /// The text of the element that is open, to its end.
    fn text(&mut self) -> Result<String, XmlError> {
        let mut text = String::new();
        loop {
            let damaged = XmlError::Damaged(self.reader.buffer_position());
            match self.event()? {
                Event::Text(part) => text.push_str(&part.decode().map_err(|_| damaged)?),
                Event::CData(part) => text.push_str(&part.decode().map_err(|_| damaged)?),
                Event::GeneralRef(reference) => text.push_str(&resolved(&reference).ok_or(damaged)?),
                Event::Start(start) => {
                    self.open.push(String::from_utf8_lossy(start.name().as_ref()).into_owned());
                    self.skip()?;
                }
                Event::End(_) => {
                    self.open.pop();
                    return Ok(text);
                }
                _ => {}
            }
        }
    }

    /// The `item` elements of the list that is open, each followed by a comma.
    fn items(&mut self, fields: &'static [Field]) -> Result<(), XmlError> {
        while let Step::Start(name) = self.next()? {
            if name == "item" {
                self.object(fields)?;
                self.json.push(',');
            } else {
                self.skip()?;
            }
        }
        Ok(())
    }

    /// The element that is open as an object. The tables are three deep, so this is too.
    fn object(&mut self, fields: &'static [Field]) -> Result<(), XmlError> {
        self.json.push('{');
        let mut seen = vec![false; fields.len()];
        while let Step::Start(name) = self.next()? {
            let found = fields.iter().zip(&mut seen).find(|(field, _)| field.0 == name);
            let Some((Field(_, json, node), seen)) = found.filter(|(_, seen)| !**seen) else {
                self.skip()?;
                continue;
            };
            *seen = true;
            self.json.push_str(&format!("\"{json}\":"));
            match node {
                Node::Text => {
                    let text = self.text()?;
                    self.json.push_str(&serde_json::Value::String(text).to_string());
                }
                Node::Object(fields) => self.object(fields)?,
                Node::List(fields) => {
                    self.json.push('[');
                    self.items(fields)?;
                    close(self.json, ']');
                }
            }
            self.json.push(',');
        }
        close(self.json, '}');
        Ok(())
    }
}

/// Replaces the comma after the last item.
pub(super) fn close(json: &mut String, bracket: char) {
    if json.ends_with(',') {
        json.pop();
    }
    json.push(bracket);
}

fn resolved(reference: &BytesRef<'_>) -> Option<String> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(character.to_string());
    }
    resolve_predefined_entity(&reference.decode().ok()?).map(str::to_owned)
}
