//! Proof requirements: what must be shown before an action may happen, over evidence whose signer was verified.
//!
//! Evaluation walks each node once; the graph was bounded when its bundle was loaded. Empty sets do not pass.

use writ_schemas::decision::EvidenceFact;
use writ_schemas::ids::Digest;
use writ_schemas::policy::Requirement;

/// What is missing for a requirement to be met: nothing, or the first thing found missing, for a person.
#[must_use]
pub fn missing(requirement: &Requirement, evidence: &[EvidenceFact], effect: Digest) -> Option<String> {
    match requirement {
        Requirement::AllOf(parts) if parts.is_empty() => Some("an empty set passes nothing".to_owned()),
        Requirement::AllOf(parts) => parts.iter().find_map(|part| missing(part, evidence, effect)),
        Requirement::AnyOf(parts) => {
            let mut lacks = Vec::new();
            for part in parts {
                lacks.push(missing(part, evidence, effect)?);
            }
            Some(format!("none of: {}", lacks.join("; ")))
        }
        Requirement::Evidence { kind, role, about_effect } => {
            let shown = evidence.iter().filter_map(|fact| fact.known.as_ref()).any(|known| {
                known.kind == *kind
                    && known.roles.contains(role)
                    && match known.effect {
                        Some(about) => about == effect,
                        None => !about_effect,
                    }
            });
            let about = if *about_effect { " about this effect" } else { "" };
            (!shown).then(|| format!("evidence {kind}{about} by a key in role {role}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use writ_schemas::decision::EvidenceKnown;
    use writ_schemas::ids::{KeyId, Seq, UnixMicros};

    const EFFECT: Digest = Digest([7; 32]);

    fn shown(kind: &str, role: &str, effect: Option<Digest>) -> EvidenceFact {
        EvidenceFact {
            digest: Digest([1; 32]),
            known: Some(EvidenceKnown {
                seq: Seq(1),
                kind: kind.parse().expect("name"),
                signer: KeyId([2; 32]),
                roles: [role.parse().expect("name")].into(),
                effect,
                expires_at: UnixMicros(9),
            }),
        }
    }

    #[test]
    fn sets_and_leaves() {
        let needs = |json: &str| serde_json::from_str::<Requirement>(json).expect("requirement");
        let ticket = r#"{"evidence":{"kind":"ticket","role":"agent","about_effect":false}}"#;
        let approval = r#"{"evidence":{"kind":"approval","role":"approver","about_effect":true}}"#;
        let have = |facts: &[EvidenceFact], requirement: &str| missing(&needs(requirement), facts, EFFECT).is_none();

        let (t, a) = (shown("ticket", "agent", None), shown("approval", "approver", Some(EFFECT)));
        assert!(have(std::slice::from_ref(&t), ticket));
        assert!(!have(&[], ticket));
        assert!(!have(&[shown("ticket", "approver", None)], ticket), "another role");
        assert!(!have(&[shown("ticket", "agent", Some(Digest([8; 32])))], ticket), "about another effect");
        assert!(have(std::slice::from_ref(&a), approval));
        assert!(!have(&[shown("approval", "approver", None)], approval), "about no effect");

        let all = format!(r#"{{"all_of":[{ticket},{approval}]}}"#);
        let any = format!(r#"{{"any_of":[{ticket},{approval}]}}"#);
        assert!(!have(std::slice::from_ref(&t), &all) && have(&[t.clone(), a.clone()], &all));
        assert!(!have(&[], &any) && have(std::slice::from_ref(&a), &any));
        assert!(
            !have(std::slice::from_ref(&t), r#"{"all_of":[]}"#) && !have(&[t], r#"{"any_of":[]}"#),
            "empty sets do not pass"
        );
        let unknown = EvidenceFact { digest: Digest([1; 32]), known: None };
        assert!(!have(&[unknown], ticket));
    }
}
