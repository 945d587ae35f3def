//! What is said on the API's socket: one JSON object a line.
//!
//! Request: `{"v":1,"id":7,"method":"send","params":{...}}`. Answer: `{"v":1,"id":7,"ok":{...}}` or
//! `{"v":1,"id":7,"error":{"code":"not_found","message":"...","hint":"..."}}`. The methods `subscribe` and `follow`
//! answer with any number of `{"v":1,"id":7,"event":{...}}` until the client hangs up. Requests of one connection are
//! answered in order; a stream takes the connection over. Unknown keys in requests are errors; clients ignore unknown
//! keys in answers.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::views::{EventView, MessageView};
use crate::error::{ErrorCode, Failure};

/// The version of this protocol.
pub const VERSION: u32 = 1;

/// The longest request line, in bytes without its newline.
pub const MAX_REQUEST: usize = 4 * 1024 * 1024;

/// The longest answer line that a client reads, in bytes.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The largest application message, in bytes.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// Messages in one answer to `read`, at most.
pub const MAX_PAGE: usize = 256;

/// Something to do or to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The daemon as a whole. Answer: `StatusView`.
    Status {},
    /// This node's ticket. Answer: `TicketView`.
    Id {},
    /// Ends the daemon cleanly. Answer: `{}`.
    Shutdown {},
    /// Known and connected peers. Answer: `[PeerView]`.
    Peers {},
    /// Remembers a peer and connects to it, now and for ever. Answer: `PeerView`.
    PeerAdd {
        /// Its ticket.
        ticket: String,
    },
    /// Forgets a peer. Answer: `{}`.
    PeerRemove {
        /// Its peer id or name.
        peer: String,
    },
    /// Cuts this node off from exactly these peers, until the next such call or a restart. Answer: `{}`.
    PeerBlock {
        /// Their peer ids or names; none ends the cut.
        peers: Vec<String>,
    },
    /// Makes a group with this node as its only member. Answer: `GroupView`.
    GroupCreate {
        /// What this node calls it.
        name: String,
        /// Retention bounds by name: `default`, `high-fs`, `partition`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        profile: Option<String>,
        /// Whether only admins may add and remove members: to begin with, this node.
        #[serde(default)]
        admins: bool,
    },
    /// All groups. Answer: `[GroupView]`, without members.
    GroupList {},
    /// A group with its members. Answer: `GroupView`.
    GroupShow {
        /// Its name or the beginning of its id.
        group: String,
    },
    /// Adds clients: asks each for a key package, commits, delivers the Welcomes. Answer: `InvitedView`.
    GroupInvite {
        /// The group.
        group: String,
        /// Tickets, or names or ids of known peers.
        who: Vec<String>,
    },
    /// Removes a member. Answer: `GroupView`.
    GroupRemove {
        /// The group.
        group: String,
        /// The member's name, leaf index, or the beginning of its fingerprint.
        member: String,
    },
    /// Proposes the own removal; another member commits it. Answer: `GroupView`.
    GroupLeave {
        /// The group.
        group: String,
    },
    /// Replaces the own keys by a commit. Answer: `GroupView`.
    GroupRefresh {
        /// The group.
        group: String,
    },
    /// Says who may add and remove members. Answer: `GroupView`.
    GroupAdmins {
        /// The group.
        group: String,
        /// Members by name, leaf index, or the beginning of the fingerprint; none: every member.
        members: Vec<String>,
    },
    /// Asks to be taken in again, with fresh keys. Answer: `GroupView`.
    GroupRejoin {
        /// The group.
        group: String,
    },
    /// A proof that a member's key was misused. Answer: `ProofView`.
    GroupProof {
        /// The group.
        group: String,
        /// The beginning of the proof's id.
        proof: String,
    },
    /// Forgets everything about a group in which this client is not a member any more, or alone. Answer: `{}`.
    GroupDelete {
        /// The group.
        group: String,
    },
    /// Invitations that wait. Answer: `[InvitationView]`.
    Invitations {},
    /// Accepts an invitation. Answer: `GroupView`.
    Join {
        /// Its number, name, or the beginning of its id; empty if there is only one.
        #[serde(default)]
        invitation: String,
    },
    /// Sends a message to the head of a group. Answer: `SentView`.
    Send {
        /// The group.
        group: String,
        /// What it says, as text; or
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// as other bytes, in hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hex: Option<String>,
    },
    /// Delivered and sent messages in their order here. Answer: `PageView`.
    Read {
        /// The group.
        group: String,
        /// Only those with a higher sequence number.
        #[serde(default)]
        after: u64,
        /// At most this many, and at most [`MAX_PAGE`].
        #[serde(default = "max_page")]
        limit: usize,
    },
    /// The same as a stream that goes on with messages as they come. Events: `StreamItem::Message`.
    Follow {
        /// The group.
        group: String,
        /// Only those with a higher sequence number.
        #[serde(default)]
        after: u64,
    },
    /// Everything that happens, as a stream. Events: `StreamItem::Event`, `StreamItem::Missed`.
    Subscribe {
        /// Begin with buffered events of higher sequence number; without it, with what comes next.
        #[serde(default)]
        after: Option<u64>,
    },
    /// The tree of epochs of a group. Answer: `HistoryView`.
    History {
        /// The group.
        group: String,
    },
    /// Asks all connected peers of a group what is missing, now. Answer: `{}`.
    Sync {
        /// The group.
        group: String,
    },
    /// Tries to process a processed commit again from what is stored. It must fail. Answer: `ReplayView`.
    Replay {
        /// The group.
        group: String,
        /// The commit's id in hex, as `history` shows it.
        commit: String,
    },
}

fn max_page() -> usize {
    MAX_PAGE
}

/// An application message's contents: one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// Text.
    Text(String),
    /// Other bytes, in hex.
    Hex(String),
}

impl Payload {
    /// Exactly one of the two.
    ///
    /// # Errors
    /// [`ErrorCode::Usage`].
    pub fn one_of(text: Option<String>, hex: Option<String>) -> Result<Self, Failure> {
        match (text, hex) {
            (Some(text), None) => Ok(Self::Text(text)),
            (None, Some(hex)) => Ok(Self::Hex(hex)),
            _ => Err(Failure::new(ErrorCode::Usage, "A message needs either `text` or `hex`.")),
        }
    }

    /// Text if the bytes are UTF-8, else hex.
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(hex::encode(bytes)),
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// [`ErrorCode::Usage`] if the hex is none, or there are more than [`MAX_PAYLOAD`] bytes.
    pub fn into_bytes(self) -> Result<Vec<u8>, Failure> {
        let bytes = match self {
            Self::Text(text) => text.into_bytes(),
            Self::Hex(text) => hex::decode(text).map_err(|error| {
                Failure::new(ErrorCode::Usage, format!("The payload is not hex: {error}."))
            })?,
        };
        if bytes.len() > MAX_PAYLOAD {
            let text = format!("The message has {} bytes; at most {MAX_PAYLOAD} can be sent.", bytes.len());
            return Err(Failure::new(ErrorCode::Usage, text).hint("Send it in parts."));
        }
        Ok(bytes)
    }
}

/// One item of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamItem {
    /// A message; durable, so none is ever missed.
    Message(MessageView),
    /// Something happened.
    Event {
        /// Its place among all events of this node.
        seq: u64,
        /// The group, in hex.
        group: String,
        /// What.
        event: EventView,
    },
    /// At most so many events have left the buffer before this client read them.
    Missed(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    v: u32,
    id: u64,
    method: String,
    #[serde(default = "no_params")]
    params: Value,
}

fn no_params() -> Value {
    json!({})
}

/// Reads a request line. The id is that of the answer; 0 if the line has none.
///
/// # Errors
/// [`ErrorCode::Protocol`] for another version, [`ErrorCode::Usage`] for anything else that is wrong.
pub fn parse_request(line: &[u8]) -> (u64, Result<Request, Failure>) {
    let usage = |error: serde_json::Error| {
        Failure::new(ErrorCode::Usage, format!("The request is malformed: {error}."))
    };
    let value: Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => return (0, Err(usage(error))),
    };
    let id = value.get("id").and_then(Value::as_u64).unwrap_or(0);
    match value.get("v").and_then(Value::as_u64) {
        Some(v) if v == u64::from(VERSION) => {}
        other => {
            let said = other.map_or("none".to_owned(), |v| v.to_string());
            let text = format!("The request has version {said}; this daemon speaks version {VERSION}.");
            return (
                id,
                Err(Failure::new(ErrorCode::Protocol, text).hint("Use the dmls that came with the daemon.")),
            );
        }
    }
    let request = serde_json::from_value::<Envelope>(value).map_err(usage).and_then(|envelope| {
        debug_assert_eq!(envelope.v, VERSION);
        serde_json::from_value(json!({ "method": envelope.method, "params": envelope.params }))
            .map_err(usage)
            .map(|request| (envelope.id, request))
    });
    match request {
        Ok((id, request)) => (id, Ok(request)),
        Err(failure) => (id, Err(failure)),
    }
}

/// Writes a request line, without its newline.
///
/// # Errors
/// [`ErrorCode::Failed`] if it cannot be JSON.
pub fn request_line(id: u64, request: &Request) -> Result<Vec<u8>, Failure> {
    let internal = |error: serde_json::Error| Failure::new(ErrorCode::Failed, error);
    let mut value = serde_json::to_value(request).map_err(internal)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("v".into(), VERSION.into());
        object.insert("id".into(), id.into());
    }
    serde_json::to_vec(&value).map_err(internal)
}

/// What a daemon says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The version of this protocol.
    pub v: u32,
    /// The request's id.
    pub id: u64,
    /// What it says.
    #[serde(flatten)]
    pub body: AnswerBody,
}

/// The rest of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerBody {
    /// It was done.
    Ok(Value),
    /// It was not.
    Error(Failure),
    /// An item of a stream.
    Event(StreamItem),
}

impl Answer {
    /// An answer line, without its newline.
    ///
    /// # Errors
    /// [`ErrorCode::Failed`] if it cannot be JSON.
    pub fn line(id: u64, body: AnswerBody) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(&Self { v: VERSION, id, body })
            .map_err(|error| Failure::new(ErrorCode::Failed, error))
    }

    /// Reads an answer line.
    ///
    /// # Errors
    /// [`ErrorCode::Protocol`].
    pub fn parse(line: &[u8]) -> Result<Self, Failure> {
        let fail =
            |text: String| Failure::new(ErrorCode::Protocol, text).hint("Is a dmls daemon at this socket?");
        let value: Value = serde_json::from_slice(line)
            .map_err(|error| fail(format!("The answer is not JSON: {error}.")))?;
        let v = value.get("v").and_then(Value::as_u64);
        if v != Some(u64::from(VERSION)) {
            return Err(fail(format!("The daemon does not speak version {VERSION} of the API.")));
        }
        serde_json::from_value(value).map_err(|error| fail(format!("The answer is malformed: {error}.")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_wire() {
        let requests = [
            Request::Status {},
            Request::GroupInvite { group: "g".into(), who: vec!["a".into(), "b".into()] },
            Request::Send { group: "g".into(), text: Some("hi\n".into()), hex: None },
            Request::Send { group: "g".into(), text: None, hex: Some("00ff".into()) },
            Request::Read { group: "g".into(), after: 3, limit: 9 },
            Request::Subscribe { after: None },
        ];
        for request in requests {
            let line = request_line(7, &request).unwrap();
            assert!(!line.contains(&b'\n'));
            let (id, parsed) = parse_request(&line);
            assert_eq!((id, parsed.unwrap()), (7, request));
        }
    }

    #[test]
    fn the_wire_format_is_fixed() {
        let (_, parsed) =
            parse_request(br#"{"v":1,"id":2,"method":"send","params":{"group":"g","text":"hello"}}"#);
        assert_eq!(
            parsed.unwrap(),
            Request::Send { group: "g".into(), text: Some("hello".into()), hex: None }
        );
        let (_, parsed) = parse_request(br#"{"v":1,"id":2,"method":"status"}"#);
        assert_eq!(parsed.unwrap(), Request::Status {});
        let (_, parsed) = parse_request(br#"{"v":1,"id":2,"method":"read","params":{"group":"g"}}"#);
        assert_eq!(parsed.unwrap(), Request::Read { group: "g".into(), after: 0, limit: MAX_PAGE });
        let ok = Answer::line(2, AnswerBody::Ok(json!({"a": 1}))).unwrap();
        assert_eq!(String::from_utf8(ok).unwrap(), r#"{"v":1,"id":2,"ok":{"a":1}}"#);
    }

    #[test]
    fn what_is_wrong_with_a_request_is_said() {
        let cases: [(&[u8], u64, ErrorCode); 7] = [
            (b"", 0, ErrorCode::Usage),
            (b"\xff\xfe", 0, ErrorCode::Usage),
            (br#"{"v":2,"id":5,"method":"status"}"#, 5, ErrorCode::Protocol),
            (br#"{"id":5,"method":"status"}"#, 5, ErrorCode::Protocol),
            (br#"{"v":1,"id":5,"method":"stauts"}"#, 5, ErrorCode::Usage),
            (br#"{"v":1,"id":5,"method":"history","params":{"group":"g","x":1}}"#, 5, ErrorCode::Usage),
            (br#"{"v":1,"id":5,"method":"status","extra":1}"#, 5, ErrorCode::Usage),
        ];
        for (line, id, code) in cases {
            let (said, parsed) = parse_request(line);
            assert_eq!((said, parsed.unwrap_err().code), (id, code), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        let line = "[".repeat(100_000);
        assert!(parse_request(line.as_bytes()).1.is_err());
    }

    #[test]
    fn answers_survive_the_wire_and_strangers_are_recognised() {
        let failure = Failure::new(ErrorCode::NotFound, "There is no group g.").hint("List them.");
        let line = Answer::line(9, AnswerBody::Error(failure.clone())).unwrap();
        assert_eq!(Answer::parse(&line).unwrap(), Answer { v: 1, id: 9, body: AnswerBody::Error(failure) });
        let line = Answer::line(9, AnswerBody::Event(StreamItem::Missed(4))).unwrap();
        assert_eq!(Answer::parse(&line).unwrap().body, AnswerBody::Event(StreamItem::Missed(4)));
        for line in [&b"SSH-2.0"[..], br#"{"v":2,"id":1,"ok":{}}"#, br#"{"v":1,"id":1}"#] {
            assert_eq!(Answer::parse(line).unwrap_err().code, ErrorCode::Protocol);
        }
    }

    #[test]
    fn payloads() {
        assert_eq!(Payload::of(b"abc"), Payload::Text("abc".into()));
        assert_eq!(Payload::of(&[0xff]), Payload::Hex("ff".into()));
        assert_eq!(Payload::Hex("0aff".into()).into_bytes().unwrap(), [0x0a, 0xff]);
        assert!(Payload::one_of(None, None).is_err());
        assert!(Payload::one_of(Some("a".into()), Some("00".into())).is_err());
        assert!(Payload::Hex("zz".into()).into_bytes().is_err());
        assert!(Payload::Text("x".repeat(MAX_PAYLOAD)).into_bytes().is_ok());
        assert!(Payload::Text("x".repeat(MAX_PAYLOAD + 1)).into_bytes().is_err());
    }
}
