//! `signet send`: work items onto the queue, checked first as the handler will read them.

use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::{Value, json};
use signet_core::{
    algorithm::{Hash, hex, unhex},
    base64,
    format::Format,
    work_item::{MAX_MESSAGE_BYTES, WorkItem},
};

use crate::{
    content::Content,
    queue::{self, WorkQueue},
    remote::Remote,
    settings::{self, Error},
};

/// What to send.
#[derive(Args, Debug)]
pub struct Options {
    /// Files with one work item each; `-`, or nothing at all: standard input
    files: Vec<PathBuf>,
    /// Take the files as content to be signed, not as work items
    #[arg(long)]
    content: bool,
    /// A file as content to be signed, in the message
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// A blob as content to be signed; the handler reads it
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// The one state of the source that is meant
    #[arg(long, requires = "source")]
    etag: Option<String>,
    /// The version of the source that is meant
    #[arg(long, value_name = "VERSION", requires = "source")]
    version_id: Option<String>,
    /// A digest in place of the content, for raw and dsse: `sha256:HEX`, or a file to be digested here; sha384 and sha512, too
    #[arg(long, value_name = "FILE-OR-HASH:HEX")]
    digest: Vec<String>,
    /// The item's id; default: the file's name
    #[arg(long)]
    id: Option<String>,
    /// The formats to ask for; default: the handler's
    #[arg(long, value_delimiter = ',')]
    format: Vec<String>,
    /// The content's media type
    #[arg(long)]
    content_type: Option<String>,
    /// What is to be attested in a dsse result: the predicate's type
    #[arg(long, value_name = "URI")]
    predicate_type: Option<String>,
    /// The predicate: a file with a JSON object
    #[arg(long, value_name = "FILE", requires = "predicate_type")]
    predicate: Option<PathBuf>,
    /// Send what the handler would reject, too
    #[arg(long)]
    unchecked: bool,
    /// Print JSON, one line a message
    #[arg(long)]
    json: bool,
}

/// Sends each item as one message to `SIGNET_QUEUE` at `WorkQueue__queueServiceUri`.
pub async fn run(options: &Options) -> Result<ExitCode, Error> {
    let remote = Remote::new()?;
    let messages = options.messages(&remote).await?;
    for Message { origin, text } in &messages {
        if text.len() > MAX_MESSAGE_BYTES {
            return Err(too_large(origin, text.len()));
        }
        queue::check(text).map_err(|why| format!("{origin} cannot be sent: {why}"))?;
        if !options.unchecked {
            check(origin, text)?;
        }
    }

    let queue = WorkQueue::open(&remote)?;
    for Message { origin, text } in messages {
        let name = &queue.name;
        let sent = queue.send(&text).await.map_err(|failure| {
            if failure.certainly {
                format!("{origin} was not sent to {name}: {}", failure.why)
            } else {
                failure.doubt(&origin.to_string(), &queue)
            }
        })?;
        let id = sent.message_id;
        if options.json {
            let mut line = json!({ "queue": name, "messageId": id });
            line[origin.kind()] = Value::from(origin.to_string());
            say!("{line}");
        } else {
            say!("{origin} → {name}  {id}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A message, and what it was made of.
struct Message {
    origin: Origin,
    text: String,
}

/// Where an item is from.
#[derive(Clone, Debug)]
enum Origin {
    File(PathBuf),
    Source(String),
    Digest(String),
}

impl Origin {
    /// The member's name in JSON output.
    fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Source(_) => "source",
            Self::Digest(_) => "digest",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Source(text) | Self::Digest(text) => f.write_str(text),
        }
    }
}

impl Options {
    /// Every message, in the order of the arguments.
    async fn messages(&self, remote: &Remote) -> Result<Vec<Message>, Error> {
        let made = self.file.len() + self.digest.len() + usize::from(self.source.is_some());
        let standard_input = [PathBuf::from("-")];
        let files = if self.files.is_empty() && made == 0 { &standard_input[..] } else { &self.files };
        self.check_combination(files.len(), made)?;

        let mut messages = Vec::new();
        for file in files.iter().filter(|_| !self.content) {
            let origin = Origin::File(file.clone());
            let text = String::from_utf8(read(file)?)
                .map_err(|_| format!("{origin} is not UTF-8: to have it signed as it is, add --content"))?;
            messages.push(Message { origin, text });
        }
        for file in files.iter().filter(|_| self.content).chain(&self.file) {
            let bytes = read(file)?;
            let origin = Origin::File(file.clone());
            if bytes.len() > MAX_MESSAGE_BYTES {
                return Err(too_large(&origin, bytes.len()));
            }
            let payload = format!("\"payloadBase64\":\"{}\"", base64::encode(&bytes));
            messages.push(Message { text: self.item(name_of(file), &payload)?, origin });
        }
        if let Some(url) = &self.source {
            let mut source = json!({ "url": url });
            for (name, value) in [("etag", &self.etag), ("versionId", &self.version_id)] {
                if let Some(value) = value {
                    source[name] = Value::from(value.as_str());
                }
            }
            let text = self.item(None, &format!("\"source\":{source}"))?;
            messages.push(Message { origin: Origin::Source(url.clone()), text });
        }
        for given in &self.digest {
            let (name, digest) = digest(given, remote).await?;
            let text = self.item(name, &format!("\"digest\":{digest}"))?;
            messages.push(Message { origin: Origin::Digest(given.clone()), text });
        }
        Ok(messages)
    }

    fn check_combination(&self, files: usize, made: usize) -> Result<(), Error> {
        let options = [
            ("--id", self.id.is_some()),
            ("--format", !self.format.is_empty()),
            ("--content-type", self.content_type.is_some()),
            ("--predicate-type", self.predicate_type.is_some()),
        ];
        let described = options.into_iter().find(|(_, is_given)| *is_given).map(|(name, _)| name);
        if let Some(name) = described
            && files > 0
            && !self.content
        {
            let remedy = "say what is to be signed with --content, --file, --source or --digest";
            return Err(
                format!("{name} is for an item that is made here, and a work item says that itself: {remedy}").into()
            );
        }
        if self.id.is_some() && files + made > 1 {
            return Err("--id names one item, but there are several files".into());
        }
        Ok(())
    }

    /// A work item around what is to be signed, which is one JSON member.
    fn item(&self, default_id: Option<String>, content: &str) -> Result<String, Error> {
        let mut members = Vec::new();
        if let Some(id) = self.id.clone().or(default_id) {
            members.push(format!("\"id\":{}", Value::from(id)));
        }
        if !self.format.is_empty() {
            members.push(format!("\"format\":{}", json!(self.format)));
        }
        if let Some(content_type) = &self.content_type {
            members.push(format!("\"contentType\":{}", Value::from(content_type.as_str())));
        }
        if let Some(predicate_type) = &self.predicate_type {
            members.push(format!("\"predicateType\":{}", Value::from(predicate_type.as_str())));
        }
        if let Some(file) = &self.predicate {
            // As it stands: what is attested is the sender's own text.
            let json = String::from_utf8(read(file)?).map_err(|_| format!("{} is not UTF-8", file.display()))?;
            serde_json::from_str::<&serde_json::value::RawValue>(&json)
                .map_err(|error| format!("the predicate {} is no JSON: {error}", file.display()))?;
            members.push(format!("\"predicate\":{}", json.trim()));
        }
        members.push(content.to_owned());
        Ok(format!("{{{}}}", members.join(",")))
    }
}

/// Refuses what the handler would reject.
fn check(origin: &Origin, text: &str) -> Result<(), Error> {
    let default = settings::given("SIGNET_FORMAT").and_then(|name| Format::from_name(&name)).unwrap_or(Format::Jws);
    let Err(rejection) = WorkItem::parse(text.as_bytes(), default) else { return Ok(()) };
    let remedy = match origin {
        Origin::Digest(_) if rejection.detail.contains("needs the content") => "; choose with --format raw,dsse",
        _ => "",
    };
    Err(format!("{origin}: {}: {}{remedy}", rejection.reason, rejection.detail).into())
}

fn too_large(origin: &Origin, bytes: usize) -> Error {
    format!(
        "{origin}: too-large: it comes to {bytes} bytes, and a queue takes {MAX_MESSAGE_BYTES}, Base64 of content \
         included: put the content into a blob and send --source URL, or send --digest FILE for raw and dsse"
    )
    .into()
}

/// The id that an item gets from its file.
fn name_of(file: &Path) -> Option<String> {
    let name = file.file_name().filter(|_| file != Path::new("-"));
    name.map(|name| name.to_string_lossy().into_owned())
}

/// The member `digest`, and the id that the item gets by default.
async fn digest(given: &str, remote: &Remote) -> Result<(Option<String>, Value), Error> {
    let named = given.split_once(':').and_then(|(name, rest)| Some((Hash::from_name(name)?, rest)));
    let (hash, location) = named.unwrap_or((Hash::Sha256, given));
    if named.is_some() && unhex(location).is_some_and(|digest| digest.len() == hash.length()) {
        return Ok((None, json!({ hash.name(): location })));
    }
    let content = Content::open(location, remote).await.map_err(|error| {
        let (name, digits) = (hash.name(), 2 * hash.length());
        format!("{error} (a digest itself is {name}: and {digits} hexadecimal digits)")
    })?;
    let mut hasher = hash.hasher();
    content.read(|piece| hasher.update(piece)).await?;
    let id = if crate::remote::is_url(location) { None } else { name_of(Path::new(location)) };
    Ok((id, json!({ hash.name(): hex(&hasher.finish()) })))
}

/// Reads a file, but hardly more of it than a message can hold.
fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let limit = 2 * MAX_MESSAGE_BYTES as u64;
    let mut bytes = Vec::new();
    let outcome = if file == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut bytes))
    };
    outcome.map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    Ok(bytes)
}
