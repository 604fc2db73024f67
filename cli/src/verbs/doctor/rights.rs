//! Whose a right is: the app's alone, or an operator's as well; and what it means that it is not there.

use clap::ValueEnum;

use super::identity::Principal;

/// Where it cannot be told who asks.
pub(super) const SAY_WHO: &str = "say whose rights are meant, with --as app or --as operator";

/// As whom somebody asks: what must be there follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Asker {
    /// The app's identity, or one that is to have its rights
    App,
    /// Whoever sends items and reads what becomes of them
    Operator,
}

impl Asker {
    /// As the option has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Operator => "operator",
        }
    }
}

/// A right that is tried, and the roles that give it: those of the deployment, no wider ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Right<'a> {
    /// The app's role.
    pub(super) app: &'a str,
    /// An operator's role; none where the right is the app's alone.
    pub(super) operator: Option<&'a str>,
    /// The id of a resource, or a command in place of it.
    pub(super) scope: &'a str,
}

/// The command that finds a role which the deployment defines for the app, in the resource group of what `show` shows. No role
/// of Azure's own is as narrow.
pub(super) fn defined_role(name: &str, show: &str) -> String {
    format!(
        "$(az role definition list --custom-role-only true -g \"$({show} --query resourceGroup -o tsv)\" \
         --query \"[?starts_with(roleName, '{name}')].name\" -o tsv)"
    )
}

/// What it means that a right is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// It is a fault, and this mends it.
    Fault(String),
    /// It is as it should be: the right is the app's.
    NotYours,
    /// It is a fault if the app asks, and as it should be if an operator does.
    Untold,
}

impl Right<'_> {
    /// What it means that this principal has it not.
    pub(super) fn lack(&self, principal: &Principal) -> Lack {
        match (principal.asker, self.operator) {
            (Some(Asker::App), _) => Lack::Fault(principal.role(self.app, self.scope)),
            (Some(Asker::Operator), Some(role)) => Lack::Fault(principal.role(role, self.scope)),
            (Some(Asker::Operator), None) => Lack::NotYours,
            (None, Some(_)) => Lack::Fault(SAY_WHO.to_owned()),
            (None, None) => Lack::Untold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_given_a_right_that_is_the_apps_alone() {
        let principal = |asker| {
            let mut principal = Principal::default();
            principal.asker = asker;
            principal
        };
        let [app, operator, untold] = [Some(Asker::App), Some(Asker::Operator), None].map(principal);
        let shared = Right { app: "Contributor", operator: Some("Reader"), scope: "SCOPE" };
        let apps_alone = Right { operator: None, ..shared };
        let gives = |lack: Lack, role: &str| matches!(lack, Lack::Fault(command) if command.contains(role));
        assert!(gives(shared.lack(&app), "\"Contributor\"") && gives(apps_alone.lack(&app), "\"Contributor\""));
        assert!(gives(shared.lack(&operator), "\"Reader\""));
        assert_eq!(apps_alone.lack(&operator), Lack::NotYours);
        assert_eq!((shared.lack(&untold), apps_alone.lack(&untold)), (Lack::Fault(SAY_WHO.to_owned()), Lack::Untold));
    }
}
