//! Host names that cannot be looked up for a while.
//!
//! Names under `.localhost` are never looked up, so the handler gets its results container under another name, which stands in
//! a hosts file of its own: it runs in a mount namespace, with that file bound over `/etc/hosts`. Where no such namespace can be
//! had, names are left as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::error::{Context as _, Result};

/// The domain of the results' storage, in the certificate of the local stack.
const DOMAIN: &str = ".blob.signet.test";

/// The hosts file of a handler.
#[derive(Clone, Debug)]
pub struct Names {
    hosts: PathBuf,
}

impl Names {
    /// Wraps the handler of an app, if this system lets it.
    pub fn wrap(app_root: &Path, host: &str) -> Result<Option<Self>> {
        if !can_be_had() {
            return Ok(None);
        }
        let (hosts, handler, real) =
            (app_root.join("hosts"), app_root.join("bin/handler"), app_root.join("bin/handler-itself"));
        fs::write(&hosts, with(host)).context("a hosts file")?;
        fs::rename(&handler, &real).context("the handler")?;
        let script = format!(
            "#!/bin/sh\nexec /usr/bin/unshare --mount --map-root-user /bin/sh -c \
             '/bin/mount --bind \"$0\" /etc/hosts && exec \"$@\"' '{}' '{}' \"$@\"\n",
            hosts.display(),
            real.display()
        );
        fs::write(&handler, script).context("the handler's wrapper")?;
        let mode = fs::metadata(&real).context("the handler")?.permissions();
        fs::set_permissions(&handler, mode).context("the handler's wrapper")?;
        Ok(Some(Self { hosts }))
    }

    /// The URL of a container under the name that is looked up.
    #[must_use]
    pub fn renamed(url: &str) -> String {
        url.replacen(".blob.localhost", DOMAIN, 1)
    }

    /// Lets the name be found, or not. The file stays the same one, since it is that which is bound.
    pub fn set(&self, host: Option<&str>) {
        let text = host.map_or_else(|| "127.0.0.1 localhost\n".to_owned(), with);
        // Where it cannot be written, names go on as they were.
        let _ = fs::write(&self.hosts, text);
    }
}

fn with(host: &str) -> String {
    format!("127.0.0.1 localhost {host}\n")
}

fn can_be_had() -> bool {
    let probe = Command::new("/usr/bin/unshare")
        .args(["--mount", "--map-root-user", "/bin/sh", "-c", "/bin/mount --bind /dev/null /etc/hosts"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    cfg!(target_os = "linux") && probe.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_handler_sees_its_own_hosts_file_as_it_changes() {
        let app = tempfile::tempdir().expect("a directory");
        let handler = app.path().join("bin/handler");
        fs::create_dir(app.path().join("bin")).expect("a directory");
        fs::write(&handler, "#!/bin/sh\ncat /etc/hosts\necho $*\n").expect("a script");
        let made = Command::new("chmod").arg("755").arg(&handler).status();
        let Some(names) = Names::wrap(app.path(), "a.blob.signet.test").expect("a wrapper") else { return };
        assert!(made.is_ok());
        let seen = || {
            String::from_utf8(Command::new(&handler).args(["p", "q"]).output().expect("it runs").stdout).expect("text")
        };
        assert_eq!(seen(), "127.0.0.1 localhost a.blob.signet.test\np q\n");
        names.set(None);
        assert_eq!(seen(), "127.0.0.1 localhost\np q\n");
        assert_eq!(Names::renamed("https://a.blob.localhost:1/c"), "https://a.blob.signet.test:1/c");
    }
}
