//! Reads saved answers of the AWS CLI: `describe-vpn-connections`, `-customer-gateways`, `-vpn-gateways`,
//! `-transit-gateways` and `organizations list-accounts`, told apart by their top-level keys.
//!
//! Invariants:
//! - `CustomerGatewayConfiguration` and `PreSharedKey` have no field here: they are skipped where they are
//!   read and never become a value of this program.
//! - No error carries text of the file: a parser's message may quote a value, and the value may be a key.
//!   Errors name the kind of damage, line, column and remedy only.
//! - A field of an unexpected type counts as absent: it never costs the connection. A list that is no list
//!   is an error, since silence would make every connection "missing".

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use crate::event::Millis;

/// Why a file is no answer that can be used. No variant carries text of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The JSON stops in the middle.
    #[error("the JSON ends early at line {line}, column {column}: the file may be half-written; save the answer again")]
    Truncated {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// Not JSON.
    #[error("not valid JSON at line {line}, column {column}; save the answer again with `--output json`")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// JSON of another form, for example with a key twice.
    #[error(
        "not in the form of an AWS CLI answer at line {line}, column {column}; save the answer again without `--query`"
    )]
    Data {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// A known top-level key whose value is not a list.
    #[error("`{key}` is not a list; save the answer again without `--query`")]
    NotAList {
        /// The key, in our own words.
        key: &'static str,
    },
    /// JSON without any of the keys that answers begin with.
    #[error(
        "none of `VpnConnections`, `CustomerGateways`, `VpnGateways`, `TransitGateways`, `Accounts` at the top; \
         save the whole answer of `aws ec2 describe-vpn-connections --output json` and its siblings"
    )]
    Unrecognised,
    /// UTF-16, as Windows PowerShell's `>` writes it.
    #[error("encoded as UTF-16; save the answer as UTF-8 (PowerShell: `| Out-File -Encoding utf8`)")]
    Utf16,
}

impl From<serde_json::Error> for AnswerError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Eof => AnswerError::Truncated { line, column },
            Category::Syntax => AnswerError::Syntax { line, column },
            Category::Data | Category::Io => AnswerError::Data { line, column },
        }
    }
}

/// A set of answers, each with what its place tells: whose account, which Region, how old.
#[derive(Debug, Default)]
pub struct Answers {
    pub(super) parts: Vec<Part>,
}

/// One answer and its circumstances.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) account: Option<String>,
    pub(super) region: Option<String>,
    pub(super) as_of: Option<Millis>,
    pub(super) answer: Answer,
}

impl Answers {
    /// Adds the answer in `bytes`. A UTF-8 byte order mark is skipped.
    ///
    /// # Errors
    /// [`AnswerError`] says what is wrong with it, without a word of its text; nothing is added then.
    pub fn add_slice(
        &mut self,
        account: Option<&str>,
        region: Option<&str>,
        as_of: Option<Millis>,
        bytes: &[u8],
    ) -> Result<(), AnswerError> {
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Err(AnswerError::Utf16);
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let answer: Lenient<Maybe<Answer>> = serde_json::from_slice(bytes)?;
        self.add(account, region, as_of, answer.0.0)
    }

    /// Adds an answer that is already parsed, such as the simulator's.
    ///
    /// # Errors
    /// As [`Answers::add_slice`].
    pub fn add_value(
        &mut self,
        account: Option<&str>,
        region: Option<&str>,
        as_of: Option<Millis>,
        value: serde_json::Value,
    ) -> Result<(), AnswerError> {
        let answer: Lenient<Maybe<Answer>> = serde_json::from_value(value)?;
        self.add(account, region, as_of, answer.0.0)
    }

    /// Whether any answer was one of `describe-vpn-connections`, be it an empty list.
    pub fn has_connections(&self) -> bool {
        self.parts.iter().any(|part| part.answer.vpn_connections.is_some())
    }

    fn add(
        &mut self,
        account: Option<&str>,
        region: Option<&str>,
        as_of: Option<Millis>,
        answer: Option<Answer>,
    ) -> Result<(), AnswerError> {
        let answer = answer.ok_or(AnswerError::Unrecognised)?;
        answer.check()?;
        let (account, region) = (account.map(str::to_owned), region.map(str::to_owned));
        self.parts.push(Part { account, region, as_of, answer });
        Ok(())
    }
}

/// Any of the answers: the key that is present tells which.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Answer {
    pub(super) vpn_connections: Option<List<VpnConnection>>,
    pub(super) customer_gateways: Option<List<CustomerGateway>>,
    pub(super) vpn_gateways: Option<List<VpnGateway>>,
    pub(super) transit_gateways: Option<List<TransitGateway>>,
    pub(super) accounts: Option<List<Account>>,
}

impl Answer {
    fn check(&self) -> Result<(), AnswerError> {
        let lists = [
            ("VpnConnections", self.vpn_connections.as_ref().map(|list| list.0.is_list)),
            ("CustomerGateways", self.customer_gateways.as_ref().map(|list| list.0.is_list)),
            ("VpnGateways", self.vpn_gateways.as_ref().map(|list| list.0.is_list)),
            ("TransitGateways", self.transit_gateways.as_ref().map(|list| list.0.is_list)),
            ("Accounts", self.accounts.as_ref().map(|list| list.0.is_list)),
        ];
        if let Some((key, _)) = lists.iter().find(|(_, is_list)| *is_list == Some(false)) {
            return Err(AnswerError::NotAList { key });
        }
        if lists.iter().all(|(_, is_list)| is_list.is_none()) { Err(AnswerError::Unrecognised) } else { Ok(()) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct VpnConnection {
    pub(super) vpn_connection_id: Text,
    pub(super) state: Text,
    pub(super) customer_gateway_id: Text,
    pub(super) transit_gateway_id: Text,
    pub(super) vpn_gateway_id: Text,
    pub(super) core_network_arn: Text,
    pub(super) vpn_concentrator_id: Text,
    pub(super) options: Object<Options>,
    pub(super) tags: List<Tag>,
    pub(super) vgw_telemetry: List<Telemetry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Options {
    pub(super) static_routes_only: Text,
    pub(super) outside_ip_address_type: Text,
    pub(super) transport_transit_gateway_attachment_id: Text,
    pub(super) tunnel_options: List<TunnelOption>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TunnelOption {
    pub(super) outside_ip_address: Text,
    pub(super) tunnel_inside_cidr: Text,
    pub(super) tunnel_inside_ipv6_cidr: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Telemetry {
    pub(super) outside_ip_address: Text,
    pub(super) status: Text,
    pub(super) accepted_route_count: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Tag {
    pub(super) key: Text,
    pub(super) value: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CustomerGateway {
    pub(super) customer_gateway_id: Text,
    pub(super) bgp_asn: Text,
    pub(super) bgp_asn_extended: Text,
    pub(super) ip_address: Text,
    pub(super) device_name: Text,
    pub(super) tags: List<Tag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct VpnGateway {
    pub(super) vpn_gateway_id: Text,
    pub(super) amazon_side_asn: Text,
    pub(super) vpc_attachments: List<VpcAttachment>,
    pub(super) tags: List<Tag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct VpcAttachment {
    pub(super) state: Text,
    pub(super) vpc_id: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TransitGateway {
    pub(super) transit_gateway_id: Text,
    pub(super) transit_gateway_arn: Text,
    pub(super) owner_id: Text,
    pub(super) options: Object<TransitGatewayOptions>,
    pub(super) tags: List<Tag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TransitGatewayOptions {
    pub(super) amazon_side_asn: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Account {
    pub(super) id: Text,
    pub(super) name: Text,
    /// Not AWS's: the OU by names, as `tunnelog inventory export` adds it.
    pub(super) ou_path: Text,
}

/// A scalar in whatever type it was written.
pub(super) type Text = Lenient<Scalar>;
/// A list whose items may be of any type; those that are no objects are left out.
pub(super) type List<T> = Lenient<Many<T>>;
/// An object, or nothing.
pub(super) type Object<T> = Lenient<Maybe<T>>;

impl Text {
    /// The text; an empty one counts as absent.
    pub(super) fn text(&self) -> Option<&str> {
        self.0.0.as_deref().filter(|text| !text.is_empty())
    }

    /// An owned copy of the text.
    pub(super) fn owned(&self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    /// The text as an address, a number or a flag; what cannot be read counts as absent.
    pub(super) fn parse<T: std::str::FromStr>(&self) -> Option<T> {
        self.text()?.trim().parse().ok()
    }
}

impl<T> List<T> {
    /// The items.
    pub(super) fn items(&self) -> &[T] {
        &self.0.items
    }
}

impl<T> Object<T> {
    /// The object.
    pub(super) fn get(&self) -> Option<&T> {
        self.0.0.as_ref()
    }
}

/// A value that is read from JSON of any type: what does not fit becomes "absent", never an error.
#[derive(Debug, Default)]
pub(super) struct Lenient<T>(pub(super) T);

#[derive(Debug, Default)]
pub(super) struct Scalar(Option<String>);

#[derive(Debug)]
pub(super) struct Maybe<T>(Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Maybe(None)
    }
}

#[derive(Debug)]
pub(super) struct Many<T> {
    items: Vec<T>,
    is_list: bool,
}

impl<T> Default for Many<T> {
    fn default() -> Self {
        Many { items: Vec::new(), is_list: false }
    }
}

/// How one of the three shapes is made of what the JSON holds. The defaults mean: another type, so absent.
trait Shape: Default {
    fn scalar(_text: impl fmt::Display) -> Self {
        Self::default()
    }

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

impl Shape for Scalar {
    fn scalar(text: impl fmt::Display) -> Self {
        Scalar(Some(text.to_string()))
    }
}

impl<T: DeserializeOwned> Shape for Maybe<T> {
    fn object<'de, A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(|value| Maybe(Some(value)))
    }
}

impl<T: DeserializeOwned> Shape for Many<T> {
    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Lenient<Maybe<T>>>()? {
            items.extend(item.0.0);
        }
        Ok(Many { items, is_list: true })
    }
}

impl<'de, T: Shape> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyType(PhantomData)).map(Lenient)
    }
}

struct AnyType<T>(PhantomData<T>);

impl<'de, T: Shape> Visitor<'de> for AnyType<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<T, E> {
        Ok(T::scalar(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<T, E> {
        Ok(T::scalar(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<T, E> {
        Ok(T::scalar(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<T, E> {
        Ok(T::scalar(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<T, E> {
        Ok(T::scalar(value))
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        T::list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<T, A::Error> {
        T::object(object)
    }
}
