//! Seeds, programs and dictionaries, which stand beside the crate.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn paths_in(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// The names of a directory's entries, without what follows a dot, in order.
pub(crate) fn names_in(name: &str) -> Vec<String> {
    paths_in(name).iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
}

/// A text file.
pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(directory(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A target's seeds with their names, in order.
pub(crate) fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let named = paths_in(&format!("seeds/{target}")).into_iter().map(|path| {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        (name, fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    });
    named.collect()
}

/// The words of all dictionaries.
pub(crate) fn words() -> Vec<Vec<u8>> {
    let texts = names_in("dictionaries").into_iter().map(|name| read(&format!("dictionaries/{name}.dict")));
    texts.flat_map(|text| text.lines().filter(|line| line.starts_with('"')).map(word).collect::<Vec<_>>()).collect()
}

/// A word as libFuzzer reads it: in quotation marks, with `\\`, `\"` and `\xAB`.
fn word(line: &str) -> Vec<u8> {
    let quoted = line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_else(|| panic!("{line}"));
    let (mut word, mut rest) = (Vec::new(), quoted.bytes());
    while let Some(byte) = rest.next() {
        word.push(match (byte, byte == b'\\') {
            (byte, false) => byte,
            _ => match rest.next() {
                Some(b'x') => {
                    let digits = [rest.next(), rest.next()].map(|digit| char::from(digit.expect("two digits")));
                    let digits: String = digits.iter().collect();
                    u8::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("{line}"))
                }
                other => other.expect("what is escaped"),
            },
        });
    }
    assert!(!word.is_empty(), "{line}");
    word
}
