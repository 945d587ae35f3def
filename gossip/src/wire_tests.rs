use proptest::prelude::*;

use super::*;

fn id() -> impl Strategy<Value = MessageId> {
    any::<[u8; 32]>().prop_map(MessageId)
}

fn topic() -> impl Strategy<Value = Topic> {
    any::<[u8; 32]>().prop_map(Topic)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..80)
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (topic(), any::<u64>()).prop_map(|(topic, floor)| Request::Open { topic, floor }),
        (topic(), any::<u64>(), any::<bool>(), bytes())
            .prop_map(|(topic, floor, first, frame)| Request::Round { topic, floor, first, frame }),
        (topic(), prop::collection::vec(id(), 1..9)).prop_map(|(topic, ids)| Request::Pull { topic, ids }),
        (topic(), id(), any::<u32>()).prop_map(|(topic, id, offset)| Request::Chunk { topic, id, offset }),
        topic().prop_map(|topic| Request::Hint { topic }),
    ]
}

fn offer() -> impl Strategy<Value = Offer> {
    prop_oneof![
        bytes().prop_map(Offer::Body),
        (id(), any::<u32>()).prop_map(|(id, len)| Offer::Large { id, len }),
        id().prop_map(Offer::Missing),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        (0..Refusal::ALL.len()).prop_map(|i| Response::Refused(Refusal::ALL[i])),
        any::<u64>().prop_map(|floor| Response::Opened { floor }),
        bytes().prop_map(Response::Frame),
        prop::collection::vec(offer(), 0..9).prop_map(Response::Bodies),
        (any::<u32>(), bytes()).prop_map(|(total, bytes)| Response::Part { total, bytes }),
        Just(Response::Noted),
    ]
}

proptest! {
    #[test]
    fn requests_come_back(request in request()) {
        prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn responses_come_back(response in response()) {
        prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
    }

    /// What decodes at all encodes to the same bytes: there is one encoding of each message.
    #[test]
    fn garbage_is_an_error_or_canonical(mut garbage in prop::collection::vec(any::<u8>(), 0..200), tag in 0u8..7) {
        if let Some(first) = garbage.first_mut() {
            *first = tag;
        }
        if let Ok(request) = Request::decode(&garbage) {
            prop_assert_eq!(request.encode(), garbage.clone());
        }
        if let Ok(response) = Response::decode(&garbage) {
            prop_assert_eq!(response.encode(), garbage.clone());
        }
        if let Ok(live) = Live::decode(&garbage) {
            prop_assert_eq!(live.encode(), garbage);
        }
    }

    /// Every proper prefix of a message with a fixed shape is an error.
    #[test]
    fn truncation_is_an_error(topic in topic(), ids in prop::collection::vec(id(), 1..9), cut in any::<prop::sample::Index>()) {
        let whole = Request::Pull { topic, ids }.encode();
        prop_assert_eq!(Request::decode(&whole[..cut.index(whole.len())]), Err(WireError));
    }
}

#[test]
fn trailing_bytes_and_false_counts_are_errors() {
    let mut hint = Request::Hint { topic: Topic([1; 32]) }.encode();
    assert!(Request::decode(&hint).is_ok());
    hint.push(0);
    assert_eq!(Request::decode(&hint), Err(WireError));

    let mut bodies = Response::Bodies(vec![Offer::Body(vec![7])]).encode();
    assert!(Response::decode(&bodies).is_ok());
    bodies[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(Response::decode(&bodies), Err(WireError));
}

#[test]
fn a_pull_is_bounded() {
    let pull = |n: usize| Request::Pull { topic: Topic([0; 32]), ids: vec![MessageId([2; 32]); n] }.encode();
    assert!(Request::decode(&pull(MAX_PULL)).is_ok());
    assert_eq!(Request::decode(&pull(MAX_PULL + 1)), Err(WireError));
    assert_eq!(Request::decode(&pull(0)), Err(WireError));
}
