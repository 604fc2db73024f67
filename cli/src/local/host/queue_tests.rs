use super::*;

#[test]
fn pauses_grow_from_the_floor_to_the_ceiling() {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    let pauses: Vec<_> = (0..6).map(|_| backoff.next(0.0).as_millis()).collect();
    assert_eq!(pauses, [200, 300, 500, 900, 1000, 1000]);
    backoff.reset();
    assert_eq!(backoff.next(1.0).as_millis(), 220);
    assert_eq!(backoff.next(-1.0).as_millis(), 260);
}

#[test]
fn poison_queues_have_none_of_their_own() {
    assert_eq!(poison_queue("work").as_deref(), Some("work-poison"));
    assert_eq!(poison_queue("work-poison"), None);
    assert_eq!(poison_queue(&"w".repeat(56)).map(|name| name.len()), Some(63));
    assert_eq!(poison_queue(&"w".repeat(57)), None);
}

#[test]
fn encodings() {
    assert_eq!(decode("aGk=", MessageEncoding::None).unwrap(), b"aGk=");
    assert_eq!(decode("aGk=", MessageEncoding::Base64).unwrap(), b"hi");
    assert_eq!(decode("{}", MessageEncoding::Base64), None);
}
