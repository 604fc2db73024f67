//! `signet verify`: whether a result is what it says, by the published keys.

mod reading;
mod report;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fs::File, io::Read, process::ExitCode};

use clap::Args;
use signet_core::{algorithm::Algorithm, jwks::JwkSet};

use self::{
    reading::{Measured, Needs, Reading},
    report::{Report, Surroundings},
};
use crate::{
    content::Content,
    remote::{self, Document, Fetched, LARGEST_WHOLE, Remote},
    settings,
};

/// What to verify, and with what.
#[derive(Args, Debug)]
pub struct Options {
    /// The result: a file, a blob's URL, or `-` for standard input
    result: String,
    /// The content that was signed: needed where the result does not hold it, compared where it does; of any size
    #[arg(long, value_name = "FILE-OR-URL")]
    content: Option<String>,
    /// The keys: a file or URL; default: the key set of the result's container, or of `SIGNET_RESULTS`
    #[arg(long, value_name = "FILE-OR-URL")]
    jwks: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is known of a good signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `jws`, `dsse`, `cose`, or `raw` for a bare signature.
    pub form: &'static str,
    /// Who signed: the key, with its version.
    pub kid: Option<String>,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// When, in seconds since 1970, by the signer's word.
    pub issued_at: Option<i64>,
    /// The content's media type.
    pub content_type: Option<String>,
    /// What an envelope says that its payload is.
    pub payload_type: Option<String>,
    /// What it is about, by the signer's word: the subject of a statement that the content is, or else the first.
    pub subject: Option<String>,
    /// How many subjects the statement has.
    pub subjects: Option<usize>,
    /// What is attested of it: the type of a statement's predicate.
    pub predicate_type: Option<String>,
    /// SHA-256 of the content, as far as it is known.
    pub sha256: Option<String>,
    /// Bytes of the content, if it is at hand.
    pub length: Option<u64>,
}

/// Why there is no verdict.
#[derive(Debug)]
pub enum NoVerdict {
    /// It is not valid; why.
    Invalid(String),
    /// It cannot be told; what is missing.
    Unknown(String),
}

/// Prints the verdict; exit 0 valid, 1 not valid, 2 could not tell.
pub async fn run(options: &Options) -> ExitCode {
    let mut surroundings = Surroundings::default();
    match verify(options, &mut surroundings).await {
        Ok(verdict) => Report { verdict, surroundings }.print(options.json),
        Err(why) => report::print_no_verdict(&why, &surroundings, options.json),
    }
}

/// Judges a result by what it holds, its content (where it is elsewhere) and a set of keys.
pub fn verdict(document: &Document, content: Option<&[u8]>, keys: &JwkSet) -> Result<Verdict, NoVerdict> {
    let reading = Reading::of(document, keys)?;
    let measured = content.map(|content| {
        let mut measure = reading.measure(Some(content.len() as u64))?;
        measure.update(content);
        measure.finish()
    });
    reading.judge(measured.transpose()?.as_ref())
}

async fn verify(options: &Options, surroundings: &mut Surroundings) -> Result<Verdict, NoVerdict> {
    let inputs = [
        ("the result", Some(&options.result)),
        ("its content", options.content.as_ref()),
        ("the keys", options.jwks.as_ref()),
    ];
    let mut piped = inputs.into_iter().filter(|(_, location)| location.is_some_and(|location| location == "-"));
    if let (Some((one, _)), Some((other, _))) = (piped.next(), piped.next()) {
        return Err(unknown(format!("standard input cannot be both {one} and {other}")));
    }
    let remote = Remote::new().map_err(|error| unknown(error.to_string()))?;
    let fetched = read(&options.result, &remote).await?;
    surroundings.note_result(&fetched);
    let location = key_set_location(options)?;
    let keys = read(&location, &remote).await?.document;
    let keys = std::str::from_utf8(&keys.bytes).map_err(|_| "not UTF-8".to_owned()).and_then(JwkSet::parse_set_or_key);
    let keys = keys.map_err(|why| unknown(format!("the key set {location} cannot be used: {why}")))?;
    surroundings.key_set = Some(location);

    let document = &fetched.document;
    let reading = Reading::of(document, &keys)?;
    let measured = match &options.content {
        Some(location) => Some(measure(&reading, location, &remote, surroundings).await?),
        None if reading.needs() == Needs::Nothing => None,
        None => return Err(unknown(surroundings.content_wanted())),
    };
    let verdict = reading.judge(measured.as_ref()).map_err(|why| match why {
        NoVerdict::Invalid(why) => invalid(why + &surroundings.other_state()),
        why @ NoVerdict::Unknown(_) => why,
    })?;
    surroundings.compare(&verdict);
    Ok(verdict)
}

/// Reads the content once, whatever its size, for all that the result says of it.
async fn measure(
    reading: &Reading,
    location: &str,
    remote: &Remote,
    surroundings: &mut Surroundings,
) -> Result<Measured, NoVerdict> {
    let cannot_tell = |error: settings::Error| unknown(error.to_string());
    let mut content = Content::open(location, remote).await.map_err(cannot_tell)?;
    if reading.needs() == Needs::ContentOfKnownLength {
        content = content.with_length().map_err(cannot_tell)?;
    }
    surroundings.content_etag = content.etag().map(ToString::to_string);
    let mut measure = reading.measure(content.length())?;
    content.read(|piece| measure.update(piece)).await.map_err(cannot_tell)?;
    measure.finish()
}

async fn read(location: &str, remote: &Remote) -> Result<Fetched, NoVerdict> {
    if remote::is_url(location) {
        return remote.read(location).await.map_err(|error| unknown(error.to_string()));
    }
    let mut bytes = Vec::new();
    let limit = LARGEST_WHOLE + 1;
    let outcome = if location == "-" {
        std::io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(location).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    outcome.map_err(|error| unknown(format!("{location} cannot be read: {error}")))?;
    if bytes.len() as u64 > LARGEST_WHOLE {
        let why = "is too large for a result or a key set; content of any size is given with --content";
        return Err(unknown(format!("{location} {why}")));
    }
    let document = Document { bytes, metadata: HashMap::new() };
    Ok(Fetched { document, last_modified: None })
}

fn key_set_location(options: &Options) -> Result<String, NoVerdict> {
    if let Some(location) = &options.jwks {
        return Ok(location.clone());
    }
    let container = if remote::is_url(&options.result) {
        options.result.parse().ok()
    } else if settings::given("SIGNET_RESULTS").is_some() {
        let container = settings::required_container("SIGNET_RESULTS").map_err(|error| unknown(error.to_string()))?;
        format!("{container}/x").parse().ok()
    } else {
        None
    };
    container
        .as_ref()
        .and_then(remote::key_set_beside)
        .map(String::from)
        .ok_or_else(|| unknown("there are no keys to verify with: give them with --jwks, or set SIGNET_RESULTS"))
}

fn invalid(why: impl Into<String>) -> NoVerdict {
    NoVerdict::Invalid(why.into())
}

fn unknown(why: impl Into<String>) -> NoVerdict {
    NoVerdict::Unknown(why.into())
}
