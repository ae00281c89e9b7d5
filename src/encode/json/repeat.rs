//! What an event has in common with the one before: where it happened (the members `cloud` and `vpn`, the log in
//! `log`), the record's arrival (`observed`), and a route's attributes. The longest part of an event, and the same for
//! nearly all events of a record, so it is written once and then copied. Where it happened is kept beyond the record
//! ([`Places`]): the next record of the tunnel tells the same, as long as the inventory does.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::ops::Range;

use super::text::{ip, number, prefix, string, time, word};
use super::write::{as_numbers, close, member, object, optional};
use crate::event::{AsNumbers, Bgp, Cloud, CustomerGateway, Gateway, InventoryInfo, Log, Millis, Tunnel, Vpn};

/// What stands in a buffer already and may be copied: an event's place is the one before's, nearly always.
///
/// To be begun anew where the inventory or the buffer may be another than before; only [`Places`] outlive a buffer.
#[derive(Clone, Debug, Default)]
pub struct Repeat {
    observed: Option<(Millis, Range<usize>)>,
    place: Option<Place>,
    log: Option<Names>,
    attributes: Option<Attributes>,
    places: Places,
}

impl Repeat {
    /// For a buffer in which nothing may be copied yet; its events have been enriched by the snapshot of this stamp.
    pub fn of(mut places: Places, snapshot: u64) -> Repeat {
        if places.snapshot != snapshot {
            places = Places { snapshot, ..Places::default() };
        }
        Repeat { places, ..Repeat::default() }
    }

    /// Done with the buffer: what may be of use for another.
    pub fn into_places(self) -> Places {
        self.places
    }
}

/// The members `cloud` and `vpn` of tunnels that have been met, as one snapshot tells them.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The snapshot's stamp.
    snapshot: u64,
    /// By a hash of the connection and the tunnel. Places of one hash take turns.
    kept: HashMap<u64, (Place, Box<[u8]>)>,
    bytes: usize,
}

/// What is kept of them at most, in bytes: some hundred places.
const MAX_PLACES_BYTES: usize = 256 * 1024;

/// What a place takes, in bytes. A table of them is half full at least.
fn footprint(written: &[u8]) -> usize {
    written.len() + 2 * size_of::<(u64, (Place, Box<[u8]>))>()
}

impl Places {
    fn hash(&self, vpn: Option<&Vpn<'_>>) -> u64 {
        self.kept.hasher().hash_one((vpn.map(|vpn| &*vpn.connection_id), outside_ip(vpn)))
    }

    /// Appends a place, if it is here.
    fn write(&self, hash: u64, out: &mut Vec<u8>, cloud: &Cloud<'_>, vpn: Option<&Vpn<'_>>) -> Option<Place> {
        let (place, bytes) = self.kept.get(&hash).filter(|(place, bytes)| place.is(bytes, cloud, vpn))?;
        let start = out.len();
        out.extend_from_slice(bytes);
        Some(Place { written: start..out.len(), ..place.clone() })
    }

    fn keep(&mut self, hash: u64, place: &Place, bytes: &[u8]) {
        let size = footprint(bytes);
        if size > MAX_PLACES_BYTES || place.has_escapes() {
            return;
        }
        if self.bytes + size > MAX_PLACES_BYTES {
            self.kept.clear();
            self.bytes = 0;
        }
        self.bytes += size;
        if let Some((_, former)) = self.kept.insert(hash, (place.clone(), bytes.into())) {
            self.bytes -= footprint(&former);
        }
    }
}

/// The members `cloud` and `vpn`, and what tells that another event's are the same: what a snapshot says of an account,
/// of a connection and of one of its tunnels is always the same, so their names are enough.
#[derive(Clone, Debug)]
struct Place {
    written: Range<usize>,
    account_id: Text,
    region: Text,
    connection_id: Text,
    outside_ip: Option<IpAddr>,
}

/// The member `log` up to the names of its group and stream.
#[derive(Clone, Debug)]
struct Names {
    written: Range<usize>,
    group: Text,
    stream: Text,
}

/// The attributes of a route in `bgp`, from the path to the weight.
#[derive(Clone, Debug)]
struct Attributes {
    written: Range<usize>,
    as_path: Text,
    numbers: [Option<u64>; 4],
    next_hop: Option<IpAddr>,
}

/// A text within what has been written.
#[derive(Clone, Debug)]
enum Text {
    Absent,
    /// It stands here as it is, from the start of what it is part of.
    Plain(Range<usize>),
    /// It needed an escape: to be written anew each time.
    Escaped,
}

impl Text {
    /// Appends a member, if it has a value, to what begins at `whole`.
    fn write(out: &mut Vec<u8>, whole: usize, key: &str, value: Option<&str>) -> Text {
        let Some(value) = value else { return Text::Absent };
        out.extend_from_slice(key.as_bytes());
        let start = out.len() + 1 - whole;
        string(out, value);
        // Every escape is longer than what it stands for.
        let written = start..out.len() - 1 - whole;
        if written.len() == value.len() { Text::Plain(written) } else { Text::Escaped }
    }

    fn is(&self, written: &[u8], value: Option<&str>) -> bool {
        match (self, value) {
            (Text::Absent, None) => true,
            (Text::Plain(known), Some(value)) => written.get(known.clone()) == Some(value.as_bytes()),
            _ => false,
        }
    }
}

impl Place {
    fn is(&self, written: &[u8], cloud: &Cloud<'_>, vpn: Option<&Vpn<'_>>) -> bool {
        self.connection_id.is(written, vpn.map(|vpn| &*vpn.connection_id))
            && self.outside_ip == outside_ip(vpn)
            && self.account_id.is(written, cloud.account_id.as_deref())
            && self.region.is(written, cloud.region.as_deref())
    }

    /// Whether it never [is](Self::is) an event's.
    fn has_escapes(&self) -> bool {
        [&self.connection_id, &self.account_id, &self.region].iter().any(|text| matches!(text, Text::Escaped))
    }
}

impl Names {
    fn are(&self, written: &[u8], log: &Log<'_>) -> bool {
        self.stream.is(written, present(log.stream_name)) && self.group.is(written, present(log.group_name))
    }
}

impl Attributes {
    fn are(&self, written: &[u8], bgp: &Bgp<'_>) -> bool {
        self.next_hop == bgp.next_hop
            && self.numbers == numbers(bgp)
            && self.as_path.is(written, bgp.as_path.as_deref())
            && has_asns_of_path(bgp)
    }
}

/// What has been written there.
fn at<'o>(out: &'o [u8], written: &Range<usize>) -> &'o [u8] {
    out.get(written.clone()).unwrap_or_default()
}

/// Whether the numbers are those of the path, so that the path is enough to compare: of an event of ours they are.
fn has_asns_of_path(bgp: &Bgp<'_>) -> bool {
    bgp.as_path.as_deref() == bgp.as_path_asns.as_ref().map(AsNumbers::path)
}

fn numbers(bgp: &Bgp<'_>) -> [Option<u64>; 4] {
    [bgp.origin_asn.map(u64::from), bgp.local_pref, bgp.med, bgp.weight]
}

fn outside_ip(vpn: Option<&Vpn<'_>>) -> Option<IpAddr> {
    vpn?.tunnel.as_ref()?.outside_ip
}

/// Appends the member `observed`, copied if it is the time that `repeat` points at.
pub(super) fn observed(out: &mut Vec<u8>, when: Millis, repeat: &mut Repeat) {
    if let Some((_, written)) = repeat.observed.as_ref().filter(|(known, _)| *known == when) {
        return out.extend_from_within(written.clone());
    }
    let start = out.len();
    member(out, r#","observed":"#, when, time);
    repeat.observed = Some((when, start..out.len()));
}

/// Appends the members `cloud` and `vpn`, copied if they are the ones that `repeat` points at.
pub(super) fn place(out: &mut Vec<u8>, cloud: &Cloud<'_>, vpn: Option<&Vpn<'_>>, repeat: &mut Repeat) {
    if let Some(known) = repeat.place.as_ref().filter(|known| known.is(at(out, &known.written), cloud, vpn)) {
        return out.extend_from_within(known.written.clone());
    }
    let hash = repeat.places.hash(vpn);
    let known = repeat.places.write(hash, out, cloud, vpn);
    let place = known.unwrap_or_else(|| {
        let place = new_place(out, cloud, vpn);
        repeat.places.keep(hash, &place, at(out, &place.written));
        place
    });
    repeat.place = Some(place);
}

fn new_place(out: &mut Vec<u8>, cloud: &Cloud<'_>, vpn: Option<&Vpn<'_>>) -> Place {
    let start = out.len();
    let Cloud { provider, account_id, account_name, account_ou, region } = cloud;
    let mut names = [const { Text::Absent }; 3];
    let [account_text, region_text, connection_text] = &mut names;
    out.extend_from_slice(br#","cloud":"#);
    object(out, |out| {
        member(out, r#","provider":"#, *provider, word);
        *account_text = Text::write(out, start, r#","account_id":"#, account_id.as_deref());
        optional(out, r#","account_name":"#, *account_name, string);
        optional(out, r#","account_ou":"#, *account_ou, string);
        *region_text = Text::write(out, start, r#","region":"#, region.as_deref());
    });
    optional(out, r#","vpn":"#, vpn, |out, vpn| {
        object(out, |out| *connection_text = vpn_members(out, start, vpn));
    });
    let [account_id, region, connection_id] = names;
    Place { written: start..out.len(), account_id, region, connection_id, outside_ip: outside_ip(vpn) }
}

/// Appends the attributes of a route, copied if they are the ones that `repeat` points at.
pub(super) fn attributes(out: &mut Vec<u8>, bgp: &Bgp<'_>, repeat: &mut Repeat) {
    if let Some(known) = repeat.attributes.as_ref().filter(|known| known.are(at(out, &known.written), bgp)) {
        return out.extend_from_within(known.written.clone());
    }
    let start = out.len();
    let numbers @ [origin_asn, local_pref, med, weight] = numbers(bgp);
    let as_path = Text::write(out, start, r#","as_path":"#, bgp.as_path.as_deref());
    optional(out, r#","as_path_asns":"#, bgp.as_path_asns.as_ref(), as_numbers);
    optional(out, r#","origin_asn":"#, origin_asn, number);
    optional(out, r#","local_pref":"#, local_pref, number);
    optional(out, r#","med":"#, med, number);
    optional(out, r#","next_hop":"#, bgp.next_hop, ip);
    optional(out, r#","weight":"#, weight, number);
    // Only a route has a next hop; what else is logged between routes has less to copy.
    if bgp.next_hop.is_some() && has_asns_of_path(bgp) {
        repeat.attributes = Some(Attributes { written: start..out.len(), as_path, numbers, next_hop: bgp.next_hop });
    }
}

/// Appends the member `log`, whose names are copied if they are the ones that `repeat` points at.
pub(super) fn log(out: &mut Vec<u8>, log: &Log<'_>, repeat: &mut Repeat) {
    const KEY: &[u8] = br#","log":"#;
    let start = out.len();
    if let Some(known) = repeat.log.as_ref().filter(|known| known.are(at(out, &known.written), log)) {
        // The comma that begins them has become the brace already, and becomes it once more.
        out.extend_from_within(known.written.clone());
    } else {
        out.extend_from_slice(KEY);
        let group = Text::write(out, start, r#","group_name":"#, present(log.group_name));
        let stream = Text::write(out, start, r#","stream_name":"#, present(log.stream_name));
        repeat.log = Some(Names { written: start..out.len(), group, stream });
    }
    optional(out, r#","event_id":"#, present(log.event_id), string);
    optional(out, r#","owner_account_id":"#, present(log.owner_account_id), string);
    close(out, start + KEY.len());
}

fn present(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Appends the members of `vpn` to what begins at `whole`; the first one's text.
fn vpn_members(out: &mut Vec<u8>, whole: usize, vpn: &Vpn<'_>) -> Text {
    let Vpn {
        connection_id,
        name,
        connection_state,
        routing,
        transport,
        transport_attachment_id,
        tunnel: of_two,
        customer_gateway: customers,
        gateway: ours,
        tags: pairs,
        inventory: known,
    } = vpn;
    let text = Text::write(out, whole, r#","connection_id":"#, Some(connection_id));
    optional(out, r#","name":"#, *name, string);
    optional(out, r#","connection_state":"#, *connection_state, string);
    optional(out, r#","routing":"#, routing.map(|it| it.as_str()), word);
    optional(out, r#","transport":"#, transport.map(|it| it.as_str()), word);
    optional(out, r#","transport_attachment_id":"#, *transport_attachment_id, string);
    optional(out, r#","tunnel":"#, of_two.as_ref(), |out, it| object(out, |out| tunnel(out, it)));
    optional(out, r#","customer_gateway":"#, *customers, |out, it| object(out, |out| customer_gateway(out, it)));
    optional(out, r#","gateway":"#, *ours, |out, it| object(out, |out| gateway(out, it)));
    optional(out, r#","tags":"#, *pairs, |out, it| object(out, |out| tags(out, it)));
    optional(out, r#","inventory":"#, known.as_ref(), |out, it| object(out, |out| inventory(out, it)));
    text
}

fn tunnel(out: &mut Vec<u8>, tunnel: &Tunnel) {
    let Tunnel { index, outside_ip, inside_cidr, inside_ipv6_cidr } = tunnel;
    optional(out, r#","index":"#, index.map(u64::from), number);
    optional(out, r#","outside_ip":"#, *outside_ip, ip);
    optional(out, r#","inside_cidr":"#, *inside_cidr, prefix);
    optional(out, r#","inside_ipv6_cidr":"#, *inside_ipv6_cidr, prefix);
}

fn customer_gateway(out: &mut Vec<u8>, gateway: &CustomerGateway) {
    let CustomerGateway { id, name, ip: address, asn, device } = gateway;
    member(out, r#","id":"#, id, |out, id| string(out, id));
    optional(out, r#","name":"#, name.as_deref(), string);
    optional(out, r#","ip":"#, *address, ip);
    optional(out, r#","asn":"#, asn.map(u64::from), number);
    optional(out, r#","device":"#, device.as_deref(), string);
}

fn gateway(out: &mut Vec<u8>, gateway: &Gateway) {
    let Gateway { kind, id, name, owner_account_id, asn, vpc_id, arn } = gateway;
    member(out, r#","kind":"#, kind.as_str(), word);
    optional(out, r#","id":"#, id.as_deref(), string);
    optional(out, r#","name":"#, name.as_deref(), string);
    optional(out, r#","owner_account_id":"#, owner_account_id.as_deref(), string);
    optional(out, r#","asn":"#, asn.map(u64::from), number);
    optional(out, r#","vpc_id":"#, vpc_id.as_deref(), string);
    optional(out, r#","arn":"#, arn.as_deref(), string);
}

fn tags(out: &mut Vec<u8>, tags: &BTreeMap<String, String>) {
    for (key, value) in tags {
        out.push(b',');
        string(out, key);
        out.push(b':');
        string(out, value);
    }
}

fn inventory(out: &mut Vec<u8>, inventory: &InventoryInfo<'_>) {
    let InventoryInfo { state, as_of, tunnel_status, accepted_routes } = inventory;
    member(out, r#","state":"#, state.as_str(), word);
    optional(out, r#","as_of":"#, *as_of, time);
    optional(out, r#","tunnel_status":"#, *tunnel_status, string);
    optional(out, r#","accepted_routes":"#, *accepted_routes, number);
}
