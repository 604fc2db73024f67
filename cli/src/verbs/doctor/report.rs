//! What was found, said as it is found.

use std::process::ExitCode;

use serde_json::{Value, json};
use signet_azure::failure::Failure;

use super::rights::{Asker, Lack, SAY_WHO};
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
    /// It does not work, and should not: it is the app's right, and an operator asks.
    NotYours,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
            Self::Unknown => "unknown",
            Self::NotYours => "not-yours",
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Ok => '✔',
            Self::Warning => '!',
            Self::Failure => '✘',
            Self::Unknown => '?',
            Self::NotYours => '–',
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
    asker: Option<Asker>,
}

impl Report {
    pub(super) fn new(as_json: bool) -> Self {
        Self { checks: Vec::new(), area: "", as_json, asker: None }
    }

    /// As whom all that follows is tried.
    pub(super) fn asks_as(&mut self, asker: Option<Asker>) {
        self.asker = asker;
    }

    /// What the next checks are about.
    pub(super) fn area(&mut self, area: &'static str) {
        self.area = area;
        if !self.as_json {
            say!("\n{area}");
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

    /// What a service has refused: what it means that the right is not there, and what makes the thing that is not. Other
    /// errors tell nothing of what is asked here.
    pub(super) fn refused(
        &mut self,
        name: impl Into<String>,
        error: &azure_core::Error,
        lack: &Lack,
        create: Option<&str>,
    ) -> State {
        let Failure { status, code, message, .. } = Failure::from(error);
        let name = name.into();
        let (state, detail, remedy) = match (status, lack, create) {
            (Some(403), _, _) if NETWORK_RULES.contains(&code.as_str()) => {
                let remedy = "let this machine in through the service's network rules, or run this where the app runs";
                (State::Failure, message, Some(remedy))
            }
            (Some(401), _, _) => {
                let remedy = "az login --tenant TENANT: the token is of another tenant, or the clock is wrong";
                (State::Failure, message, Some(remedy))
            }
            (Some(403), Lack::Fault(remedy), _) => (State::Failure, message, Some(remedy.as_str())),
            (Some(403), Lack::NotYours, _) => {
                let detail =
                    format!("not allowed, as it should be: this is the app's right, and not yours ({message})");
                (State::NotYours, detail, None)
            }
            (Some(403), Lack::Untold, _) => {
                let detail = format!("not allowed ({message}): a fault if this is the app, and else as it should be");
                (State::Unknown, detail, Some(SAY_WHO))
            }
            (Some(404), _, Some(create)) => (State::Failure, message, Some(create)),
            _ => (State::Unknown, message, None),
        };
        self.say(state, name, detail, remedy.map(str::to_owned));
        state
    }

    /// Ends with a line that sums up, and the exit code: 0 all good, 1 something failed, 2 could not tell.
    pub(super) fn end(self) -> ExitCode {
        let count = |state| self.checks.iter().filter(|check| check.state == state).count();
        let [failures, unknowns, warnings, not_yours] =
            [State::Failure, State::Unknown, State::Warning, State::NotYours].map(count);
        if self.as_json {
            let checks: Vec<Value> = self.checks.iter().map(Check::as_json).collect();
            let asker = self.asker.map(Asker::name);
            say!("{}", json!({ "healthy": healthy(failures, unknowns), "as": asker, "checks": checks }));
        } else {
            let total = self.checks.len();
            say!("\n{total} checks: {failures} failed, {unknowns} could not be told, {warnings} with a warning");
            if not_yours > 0 {
                say!(
                    "{not_yours} rights are the app's and not yours, as it should be. `signet smoke` shows whether the app \
                     signs; `signet doctor` tries them all where the app runs, with its identity."
                );
            }
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
            say!("  {} {}: {}", state.sign(), text::visible(&check.name), text::visible(&check.detail));
            if let Some(remedy) = check.remedy.as_deref().filter(|remedy| !remedy.is_empty()) {
                say!("      → {}", text::visible(remedy));
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
