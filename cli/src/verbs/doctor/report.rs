//! What was found, said as it is found.

use std::process::ExitCode;

use serde_json::{Value, json};
use signet_azure::failure::Failure;

use crate::text;

/// What the services call a refusal by where a request is from, and not by who makes it.
const NETWORK_RULES: [&str; 3] = ["AuthorizationFailure", "ForbiddenByFirewall", "ForbiddenByConnection"];

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    /// It works, and wants looking at.
    Warning,
    /// It does not work.
    Failure,
    /// It may work, or not.
    Unknown,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
            Self::Unknown => "unknown",
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Ok => '✔',
            Self::Warning => '!',
            Self::Failure => '✘',
            Self::Unknown => '?',
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
struct Check {
    area: &'static str,
    name: String,
    state: State,
    detail: String,
    /// What mends it: a command, or what to do.
    remedy: Option<String>,
}

/// All that was found so far.
#[derive(Debug)]
pub(super) struct Report {
    checks: Vec<Check>,
    area: &'static str,
    as_json: bool,
}

impl Report {
    pub(super) fn new(as_json: bool) -> Self {
        Self { checks: Vec::new(), area: "", as_json }
    }

    /// What the next checks are about.
    pub(super) fn area(&mut self, area: &'static str) {
        self.area = area;
        if !self.as_json {
            println!("\n{area}");
        }
    }

    pub(super) fn ok(&mut self, name: impl Into<String>, detail: impl Into<String>) {
        self.say(State::Ok, name.into(), detail.into(), None);
    }

    pub(super) fn warning(&mut self, name: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) {
        self.say(State::Warning, name.into(), detail.into(), Some(remedy.into()));
    }

    pub(super) fn failure(&mut self, name: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) {
        self.say(State::Failure, name.into(), detail.into(), Some(remedy.into()));
    }

    pub(super) fn unknown(&mut self, name: impl Into<String>, detail: impl Into<String>) {
        self.say(State::Unknown, name.into(), detail.into(), None);
    }

    /// What a service has refused: by status, what mends it. Other errors tell nothing of what is asked here.
    pub(super) fn refused(
        &mut self,
        name: impl Into<String>,
        error: &azure_core::Error,
        remedies: &[(u16, &str)],
    ) -> State {
        let failure = Failure::from(error);
        let is_network = failure.is(403) && NETWORK_RULES.contains(&failure.code.as_str());
        let role = remedies.iter().find(|(remedied, _)| failure.is(*remedied)).map(|(_, remedy)| *remedy);
        let remedy = match role {
            _ if is_network => {
                Some("let this machine in through the service's network rules, or run this where the app runs")
            }
            _ if failure.is(401) => {
                Some("az login --tenant TENANT: the token is of another tenant, or the clock is wrong")
            }
            other => other,
        };
        if let Some(remedy) = remedy {
            self.failure(name, failure.message, remedy);
            return State::Failure;
        }
        self.unknown(name, failure.message);
        State::Unknown
    }

    /// Ends with a line that sums up, and the exit code: 0 all good, 1 something failed, 2 could not tell.
    pub(super) fn end(self) -> ExitCode {
        let count = |state| self.checks.iter().filter(|check| check.state == state).count();
        let [failures, unknowns, warnings] = [State::Failure, State::Unknown, State::Warning].map(count);
        if self.as_json {
            let checks: Vec<Value> = self.checks.iter().map(Check::as_json).collect();
            println!("{}", json!({ "healthy": healthy(failures, unknowns), "checks": checks }));
        } else {
            let total = self.checks.len();
            println!("\n{total} checks: {failures} failed, {unknowns} could not be told, {warnings} with a warning");
        }
        match healthy(failures, unknowns) {
            Some(true) => ExitCode::SUCCESS,
            Some(false) => ExitCode::FAILURE,
            None => ExitCode::from(2),
        }
    }

    fn say(&mut self, state: State, name: String, detail: String, remedy: Option<String>) {
        let check = Check { area: self.area, name, state, detail, remedy };
        if !self.as_json {
            println!("  {} {}: {}", state.sign(), text::visible(&check.name), text::visible(&check.detail));
            if let Some(remedy) = check.remedy.as_deref().filter(|remedy| !remedy.is_empty()) {
                println!("      → {}", text::visible(remedy));
            }
        }
        self.checks.push(check);
    }
}

/// Whether all is well; nothing where that could not be told.
fn healthy(failures: usize, unknowns: usize) -> Option<bool> {
    match (failures, unknowns) {
        (0, 0) => Some(true),
        (0, _) => None,
        _ => Some(false),
    }
}

impl Check {
    fn as_json(&self) -> Value {
        json!({
            "area": self.area, "check": self.name, "state": self.state.name(), "detail": self.detail,
            "remedy": self.remedy.as_deref().filter(|remedy| !remedy.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_outweighs_what_is_not_known() {
        assert_eq!(healthy(0, 0), Some(true));
        assert_eq!(healthy(0, 1), None);
        assert_eq!(healthy(1, 1), Some(false));
        assert_eq!(healthy(1, 0), Some(false));
    }
}
