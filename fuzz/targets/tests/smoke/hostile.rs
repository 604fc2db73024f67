//! Inputs that are hostile by their form: too deep, too long, too many. They are made rather than stored.

/// The depth that no stack has room for.
const DEEP: usize = 100_000;
/// The largest message of a queue.
const LONG: usize = 64 * 1024;
/// Somewhat below, so that what stands around it fits too.
const NEARLY: usize = 60_000;

/// Those for a target, each with what it is.
pub(crate) fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let structural = *b"{}[]\":,\\/.=-%";
    let others = *b"\0 \n0A\x80\x81\xc0\xd2\xff";
    let mut inputs: Vec<(String, Vec<u8>)> =
        structural.into_iter().chain(others).map(|byte| (format!("64 KiB of {byte:#04x}"), vec![byte; LONG])).collect();
    let around: Vec<(&str, &str)> = AROUND.into_iter().filter(|a| a.0 == target).map(|a| (a.1, a.2)).collect();
    for (what, text) in values() {
        inputs.extend(around.iter().map(|(before, after)| {
            (format!("{before}…{after} around {what}"), format!("{before}{text}{after}").into_bytes())
        }));
        inputs.push((what, text.into_bytes()));
    }
    inputs.extend(messages().into_iter().map(|(what, message)| (what.to_owned(), message)));
    inputs
}

/// Where a hostile value may stand in what a target reads.
const AROUND: [(&str, &str, &str); 10] = [
    ("work_item", "{\"payload\":", "}"),
    ("work_item", "{\"format\":", ",\"payload\":1}"),
    ("work_item", "{\"payload\":1,\"format\":\"dsse\",\"predicateType\":\"a:b\",\"predicate\":", "}"),
    ("work_item", "{\"source\":", "}"),
    ("work_item", "{\"specversion\":\"1.0\",\"type\":\"Microsoft.Storage.BlobCreated\",\"data\":", "}"),
    ("results", "00{\"payload\":", "}"),
    ("envelope", "{\"Data\":{\"m\":", "},\"Metadata\":{\"sys\":{}}}"),
    ("jwks", "{\"keys\":", "}"),
    ("verify", "{\"payload\":\"\",\"payloadType\":\"t\",\"signatures\":", "}"),
    ("dsse", "{\"_type\":\"https://in-toto.io/Statement/v1\",\"predicateType\":\"a:b\",\"subject\":", "}"),
];

fn values() -> Vec<(String, String)> {
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        (format!("{depth} times {open}"), format!("{}{inner}{}", open.repeat(depth), close.repeat(depth)))
    };
    let members: Vec<String> = (0..9000).map(|i| format!("\"{i}\":{i}")).collect();
    let named = |what: &str, text: String| (what.to_owned(), text);
    vec![
        nested("[", "", "]", DEEP),
        nested("[", "1", "", DEEP),
        nested("{\"a\":", "1", "}", DEEP),
        nested("[", "", "]", NEARLY / 2),
        nested("[{\"\":", "null", "}]", NEARLY / 7),
        named("a number of 60,000 digits", "9".repeat(NEARLY)),
        named("a fraction of 60,000 digits", format!("-0.{}e-1", "0".repeat(NEARLY))),
        named("an exponent of 60,000 digits", format!("1e{}", "9".repeat(NEARLY))),
        named("a string of 60,000 escapes", format!("\"{}\"", "\\u0000".repeat(NEARLY / 6))),
        named("a string of backslashes", format!("\"{}\"", "\\".repeat(NEARLY))),
        named("a string of lone surrogates", format!("\"{}\"", "\\ud800".repeat(NEARLY / 6))),
        named("a string of slashes", format!("\"{}\"", "/".repeat(NEARLY))),
        named("a URL of dots", format!("\"https://a.example/{}\"", "../".repeat(NEARLY / 3))),
        named("an object with 9000 members", format!("{{{}}}", members.join(","))),
        named("an object with one member 9000 times", format!("{{{}}}", vec!["\"a\":1"; 9000].join(","))),
        named("a list of 9000 objects", format!("[{}]", vec!["{\"a\":1}"; 7000].join(","))),
        named("a member with a name of 60,000 characters, twice", {
            let name = "n".repeat(NEARLY / 2);
            format!("{{\"{name}\":1,\"{name}\":1}}")
        }),
    ]
}

/// Whole messages of one format each.
fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let key = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;
    let signatures = vec![r#"{"sig":"MAYCAQECAQE="}"#; 2000].join(",");
    // Distinct labels in the unprotected header of a COSE message: each is looked for among those before it.
    let mut labels = vec![0xb9, 0x3a, 0x98];
    for label in 0..15_000_u16 {
        labels.push(0x19);
        labels.extend_from_slice(&(label + 1000).to_be_bytes());
        labels.push(0);
    }
    let protected = [b"\xd2\x84\x43\xa1\x01\x26".as_slice(), &labels, b"\x40\x40"].concat();
    vec![
        ("a set of 400 keys", format!("{{\"keys\":[{}]}}", vec![key; 400].join(",")).into_bytes()),
        (
            "an envelope with 2000 signatures",
            format!(r#"{{"payload":"","payloadType":"t","signatures":[{signatures}]}}"#).into_bytes(),
        ),
        ("a COSE message with 15,000 labels", protected),
        ("arrays of one, 100,000 deep", vec![0x81; DEEP]),
        ("tags, 100,000 deep", vec![0xd2; DEEP]),
        ("an array that says it has all items of the world", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        ("DER that says it is longer than it is", b"\x30\x81\xff\x02\x81\xff\x01".to_vec()),
        ("a byte order mark, and nothing else", "\u{feff}".repeat(LONG / 3).into_bytes()),
        ("surrogates in UTF-8", b"\xed\xa0\x80".repeat(LONG / 3)),
        (
            "three parts of 20,000 letters",
            ["A".repeat(20_000), "A".repeat(20_000), "A".repeat(20_000)].join(".").into_bytes(),
        ),
    ]
}
