//! `signet send`: work items onto the queue, checked first as the handler will read them.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use azure_storage_queue::{QueueServiceClient, QueueServiceClientOptions, models::QueueMessage};
use clap::Args;
use signet_azure::client_options;
use signet_core::{
    base64,
    format::Format,
    work_item::{MAX_MESSAGE_BYTES, WorkItem},
};

use crate::settings::{self, Error};

/// What to send.
#[derive(Args, Debug)]
pub struct Options {
    /// Files with one work item each; `-` or none: standard input
    files: Vec<PathBuf>,
    /// Take the files as content to be signed, not as work items
    #[arg(long)]
    content: bool,
    /// The item's id, with --content; default: the file's name
    #[arg(long, requires = "content")]
    id: Option<String>,
    /// The formats to ask for, with --content; default: the handler's
    #[arg(long, requires = "content", value_delimiter = ',')]
    format: Vec<String>,
    /// The content's media type, with --content
    #[arg(long, requires = "content")]
    content_type: Option<String>,
    /// Send what the handler would reject, too
    #[arg(long)]
    unchecked: bool,
    /// Print JSON, one line a message
    #[arg(long)]
    json: bool,
}

/// Sends each file as one message to `SIGNET_QUEUE` at `WorkQueue__queueServiceUri`.
pub async fn run(options: &Options) -> Result<ExitCode, Error> {
    let standard_input = [PathBuf::from("-")];
    let files = if options.files.is_empty() { &standard_input[..] } else { &options.files };
    if options.id.is_some() && files.len() > 1 {
        return Err("--id names one item, but there are several files".into());
    }
    let mut messages = Vec::new();
    for file in files {
        let bytes = read(file)?;
        let message = if options.content { wrap(options, file, &bytes) } else { text(file, bytes)? };
        if !options.unchecked {
            let checked = WorkItem::parse(message.as_bytes(), Format::Jws);
            checked.map_err(|rejection| format!("{}: {}: {}", file.display(), rejection.reason, rejection.detail))?;
        }
        if message.len() > MAX_MESSAGE_BYTES {
            let (name, length) = (file.display(), message.len());
            return Err(format!("{name}: the message has {length} bytes; a queue takes {MAX_MESSAGE_BYTES}").into());
        }
        messages.push((file, message));
    }

    let transport = settings::connect()?;
    let client = QueueServiceClient::new(
        settings::required_url("WorkQueue__queueServiceUri")?,
        Some(settings::identity(&transport)?.credential()),
        Some(QueueServiceClientOptions {
            client_options: client_options(&transport),
            ..QueueServiceClientOptions::default()
        }),
    )?;
    let name = settings::required("SIGNET_QUEUE")?;
    let queue = client.queue_client(&name)?;
    for (file, message) in messages {
        let content = QueueMessage { message_text: Some(message) };
        let sent = queue.send_message(content.try_into()?, None).await.map_err(|error| {
            let failure = signet_azure::failure::Failure::from(&error);
            format!("{} was not sent to {name}: {}", file.display(), failure.message)
        })?;
        let id = sent.into_model()?.items.and_then(|sent| sent.into_iter().next()).and_then(|sent| sent.message_id);
        let id = id.unwrap_or_default();
        if options.json {
            println!("{}", serde_json::json!({ "file": file, "queue": name, "messageId": id }));
        } else {
            println!("{} → {name}  {id}", file.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()).into())
}

fn text(file: &Path, bytes: Vec<u8>) -> Result<String, Error> {
    let text = String::from_utf8(bytes)
        .map_err(|_| format!("{} is not UTF-8: to have it signed as it is, add --content", file.display()))?;
    Ok(text)
}

/// A work item around content, byte for byte.
fn wrap(options: &Options, file: &Path, bytes: &[u8]) -> String {
    let mut members = Vec::new();
    let name = file.file_name().filter(|_| file != Path::new("-"));
    if let Some(id) = options.id.clone().or_else(|| name.map(|name| name.to_string_lossy().into_owned())) {
        members.push(format!("\"id\":{}", serde_json::Value::from(id)));
    }
    if !options.format.is_empty() {
        members.push(format!("\"format\":{}", serde_json::json!(options.format)));
    }
    if let Some(content_type) = &options.content_type {
        members.push(format!("\"contentType\":{}", serde_json::Value::from(content_type.as_str())));
    }
    members.push(format!("\"payloadBase64\":\"{}\"", base64::encode(bytes)));
    format!("{{{}}}", members.join(","))
}
