//! App settings as the tool finds them: in the environment, and in a file of the form of `local.settings.json`, whose
//! values fill what the environment leaves open, as with Core Tools; those of a file that is named win.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use azure_core::http::{Transport, Url};
use serde::Deserialize;
use serde_json::{Map, Value};
use signet_azure::{
    identity::{Identity, Source},
    names::{container_url, https_url},
    roots::Roots,
    transport::transport,
};

use crate::remote::LARGEST_ANSWER;

/// Any error of a verb: the text says what, why and what to do.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Where Core Tools keep them.
const DEFAULT_FILE: &str = "local.settings.json";

/// In the environment of a child that has the settings of the file.
const IN_CHILD: &str = "SIGNET_TOOL_HAS_SETTINGS";

/// Whether the settings of a file are in force in this process, or were in a child of it that has ended.
#[derive(Debug)]
pub enum Loaded {
    /// The environment has everything.
    Here,
    /// A child with the file's values did the work; its exit code.
    InChild(u8),
}

/// Makes the values of a settings file part of the environment. A process cannot safely change its own, so this starts
/// the same command again, with the values added, unless they are all there already.
pub fn load(file: Option<&Path>) -> Result<Loaded, Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct File {
        is_encrypted: bool,
        values: BTreeMap<String, String>,
    }
    // Whatever the file says, a child starts no other.
    if std::env::var_os(IN_CHILD).is_some() {
        return Ok(Loaded::Here);
    }
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(Loaded::Here),
        Err(error) => return Err(format!("the settings {} cannot be read: {error}", path.display()).into()),
    };
    // By way of a map: an array would pass for a structure without any member.
    let parsed: File = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .and_then(|members: Map<String, Value>| serde_json::from_value(Value::Object(members)))
        .map_err(|error| format!("the settings {} are not as Core Tools have them: {error}", path.display()))?;
    if parsed.is_encrypted {
        let path = path.display();
        return Err(format!("the settings {path} are encrypted: run `func settings decrypt` beside them").into());
    }
    if let Some(name) = parsed.values.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return Err(format!("the settings {} have {name:?}, which no variable can be called", path.display()).into());
    }
    if let Some((name, _)) = parsed.values.iter().find(|(_, value)| value.contains('\0')) {
        return Err(format!("the settings {} have a zero byte in {name}", path.display()).into());
    }
    let is_named = file.is_some();
    let is_in_force = |name: &str, value: &str| match std::env::var_os(name) {
        Some(present) => !is_named || present == value,
        None => false,
    };
    let added: Vec<_> = parsed.values.into_iter().filter(|(name, value)| !is_in_force(name, value)).collect();
    if added.is_empty() {
        return Ok(Loaded::Here);
    }
    let mut child = Command::new(std::env::current_exe()?);
    let status = child.args(std::env::args_os().skip(1)).envs(added).env(IN_CHILD, "1").status()?;
    Ok(Loaded::InChild(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2)))
}

/// A setting that has a value.
#[must_use]
pub fn given(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// A setting that must have a value.
pub fn required(name: &str) -> Result<String, Error> {
    given(name).ok_or_else(|| format!("{name} is not set: set it, or name a file that has it with --settings").into())
}

/// A setting that must be a container's URL, without a SAS; it ends in no slash.
pub fn required_container(name: &str) -> Result<Url, Error> {
    well_formed(name, container_url)
}

/// A setting that must be a service's URL, without a SAS.
pub fn required_service(name: &str) -> Result<Url, Error> {
    well_formed(name, https_url)
}

/// The mistake alone is said, and not the value: a URL with a SAS is a secret.
fn well_formed(name: &str, read: impl Fn(&str) -> Result<Url, String>) -> Result<Url, Error> {
    read(required(name)?.trim()).map_err(|mistake| format!("{name} {mistake}").into())
}

/// The container of rejection records: `SIGNET_REJECTED`, else `rejected` beside the results.
pub fn rejected_container() -> Result<Url, Error> {
    if given("SIGNET_REJECTED").is_some() {
        return required_container("SIGNET_REJECTED");
    }
    let mut url = required_container("SIGNET_RESULTS")?;
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().pop().push("rejected");
    }
    Ok(url)
}

/// The transport that the settings ask for, trusting `SSL_CERT_FILE` if it is set.
pub fn connect() -> Result<Transport, Error> {
    Ok(transport(&roots()?, LARGEST_ANSWER))
}

/// The trusted roots that the settings ask for.
pub fn roots() -> Result<Roots, Error> {
    Ok(match given("SSL_CERT_FILE") {
        Some(path) => Roots::from_pem_file(Path::new(&path))?,
        None => Roots::built_in(),
    })
}

/// The identity that the settings ask for.
pub fn identity(transport: &Transport) -> Result<Identity, Error> {
    let source = Source::choose(given).map_err(|error| format!("AZURE_TOKEN_CREDENTIALS: {error}"))?;
    Ok(Identity::new(source, given("AZURE_CLIENT_ID"), transport.clone()))
}
