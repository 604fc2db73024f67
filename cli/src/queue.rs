//! The work queue, as a sender sees it: what is put on it arrives as it is.

use azure_core::{Bytes, http::Url, time::OffsetDateTime};
use azure_storage_queue::{QueueClient, QueueServiceClient, QueueServiceClientOptions};
use signet_azure::{client_options, failure::Failure};

use crate::{
    remote::Remote,
    settings::{self, Error},
};

/// `SIGNET_QUEUE` at `WorkQueue__queueServiceUri`.
pub struct WorkQueue {
    client: QueueClient,
    /// Its name.
    pub name: String,
}

/// A message on the queue, as the service has taken it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The queue's id of it.
    pub message_id: String,
    /// When, by the service's clock.
    pub inserted: Option<OffsetDateTime>,
    /// What deletes it for as long as nobody has received it.
    pop_receipt: String,
}

/// A message that has not been taken, as far as is known.
#[derive(Debug)]
pub struct NotSent {
    /// In words.
    pub why: String,
    /// Whether it is certain. An answer that was lost, and an error of the service's own, may hide that it was taken.
    pub certainly: bool,
}

impl NotSent {
    /// What is to be said where it is not certain.
    #[must_use]
    pub fn doubt(&self, what: &str, queue: &WorkQueue) -> String {
        format!("{what} may have been sent to {}, or not: {}", queue.name, self.why)
    }
}

impl WorkQueue {
    /// Reads the settings; nothing is sent yet.
    pub fn open(remote: &Remote) -> Result<Self, Error> {
        let url = settings::required_service("WorkQueue__queueServiceUri")?;
        let name = settings::required("SIGNET_QUEUE")?;
        Ok(Self { client: client(remote, url, &name)?, name })
    }

    /// Puts a message on the queue, once: what fails is not tried again, since it may have been taken all the same.
    pub async fn send(&self, text: &str) -> Result<Sent, NotSent> {
        let body = message_xml(text).map_err(|why| NotSent { why, certainly: true })?;
        let sent = async {
            let sent = self.client.send_message(Bytes::from(body).into(), None).await?;
            azure_core::Result::Ok(sent.into_model()?.items.and_then(|sent| sent.into_iter().next()))
        };
        match sent.await {
            Ok(sent) => {
                let sent = sent.unwrap_or_default();
                Ok(Sent {
                    message_id: sent.message_id.unwrap_or_default(),
                    inserted: sent.insertion_time,
                    pop_receipt: sent.pop_receipt.unwrap_or_default(),
                })
            }
            Err(error) => {
                let failure = Failure::from(&error);
                let certainly = failure.status.is_some_and(|status| (400..500).contains(&status) && status != 408)
                    || matches!(failure.code.as_str(), "connection" | "credential");
                Err(NotSent { why: failure.message, certainly })
            }
        }
    }

    /// Takes a message back that nobody has received yet; whether there was one, and `None` for who may not do that.
    pub async fn take_back(&self, sent: &Sent) -> Result<Option<bool>, Error> {
        match self.client.delete_message(&sent.message_id, &sent.pop_receipt, None).await {
            Ok(_) => Ok(Some(true)),
            // Another pop receipt counts once it has been received: 400 PopReceiptMismatch, or 404 where it is gone.
            Err(error) => match Failure::from(&error) {
                failure if failure.is(404) || failure.code == "PopReceiptMismatch" => Ok(Some(false)),
                // Whoever may send need not be allowed to delete.
                failure if failure.is(403) => Ok(None),
                failure => Err(failure.message.into()),
            },
        }
    }
}

impl std::fmt::Debug for WorkQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkQueue({})", self.name)
    }
}

/// A client of a queue at a queue service.
pub fn client(remote: &Remote, service: Url, name: &str) -> Result<QueueClient, Error> {
    let options = QueueServiceClientOptions {
        client_options: client_options(remote.transport()),
        ..QueueServiceClientOptions::default()
    };
    Ok(QueueServiceClient::new(service, Some(remote.credential()?), Some(options))?.queue_client(name)?)
}

/// Whether a queue can carry a text as it is; why not.
pub fn check(text: &str) -> Result<(), String> {
    message_xml(text).map(drop)
}

/// The body of Put Message. The SDK's own leaves carriage returns as they are, which every reader of XML takes for line feeds
/// (XML 1.0, section 2.11), and what is signed are the bytes of the message.
fn message_xml(text: &str) -> Result<String, String> {
    let mut xml = String::with_capacity(text.len() + 64);
    xml.push_str("<QueueMessage><MessageText>");
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '\r' => xml.push_str("&#13;"),
            '\t' | '\n' => xml.push(character),
            // Section 2.2.
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => {
                let escaped = character.escape_default();
                return Err(format!("it holds {escaped}, which no message of a queue can, being XML there"));
            }
            _ => xml.push(character),
        }
    }
    xml.push_str("</MessageText></QueueMessage>");
    Ok(xml)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_xml_that_reads_back_as_it_was() {
        let xml = message_xml("{\"a\": \"<&>\r\n\té\"}").unwrap();
        let expected = "<QueueMessage><MessageText>{\"a\": \"&lt;&amp;&gt;&#13;\n\té\"}</MessageText></QueueMessage>";
        assert_eq!(xml, expected);
        for text in ["\0", "a\u{1b}[2J", "\u{ffff}"] {
            assert!(message_xml(text).unwrap_err().contains("\\u{"), "{text:?}");
        }
    }
}
