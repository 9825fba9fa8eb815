use proptest::prelude::*;

use super::*;

/// One combination of everything that a decision looks at.
#[derive(Clone, Debug)]
struct Case {
    policy: Policy,
    owner: bool,
    admin: bool,
    allowed: bool,
    ignored: bool,
    rules: Vec<RuleKind>,
    inactive: bool,
    claim: Option<Claim>,
    group: bool,
    groups: Groups,
    addressed: Option<bool>,
    chats: Option<bool>,
    limited: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let policy = prop_oneof![Just(Policy::Open), Just(Policy::AllowList), Just(Policy::Pairing), Just(Policy::Owner)];
    let groups = prop_oneof![Just(Groups::All), Just(Groups::Mention), Just(Groups::Off)];
    let claim = proptest::option::of(prop_oneof![Just(Claim::Owner), Just(Claim::Stranger)]);
    let rules = proptest::sample::subsequence(RuleKind::ALL.to_vec(), 0..=4);
    let lists = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let place = (any::<bool>(), groups, any::<Option<bool>>(), any::<Option<bool>>(), any::<bool>());
    (policy, claim, rules, lists, place).prop_map(
        |(policy, claim, rules, (owner, admin, allowed, ignored, inactive), place)| {
            let (group, groups, addressed, chats, limited) = place;
            Case {
                policy,
                owner,
                admin,
                allowed,
                ignored,
                rules,
                inactive,
                claim,
                group,
                groups,
                addressed,
                chats,
                limited,
            }
        },
    )
}

impl Case {
    fn settings(&self) -> AccessSettings {
        let alice = |is: bool| is.then(|| vec!["telegram/7".parse().unwrap()]);
        AccessSettings {
            policy: Some(self.policy),
            owner: alice(self.owner),
            admins: alice(self.admin),
            allow: alice(self.allowed),
            ignore: alice(self.ignored),
            groups: Some(self.groups),
            chats: self.chats.map(|ours| vec![if ours { "g1" } else { "g2" }.to_owned()]),
            rate_per_minute: self.limited.then_some(10),
            ..AccessSettings::default()
        }
    }

    fn register(&self) -> Register {
        let rule = |kind: &RuleKind| Rule { kind: *kind, who: "@Alice".parse().unwrap(), instance: None, reason: None };
        let inactive = self.inactive.then(|| ("telegram".to_owned(), "7".to_owned()));
        Register::new(self.rules.iter().map(rule), inactive)
    }

    fn has(&self, kind: RuleKind) -> bool {
        self.rules.contains(&kind)
    }

    fn is_owner(&self) -> bool {
        self.owner || self.claim == Some(Claim::Owner)
    }

    fn is_kept_out(&self) -> bool {
        self.inactive || self.ignored || self.has(RuleKind::Ignore) || self.has(RuleKind::Deny)
    }

    fn is_let_in(&self) -> bool {
        self.admin || self.allowed || self.has(RuleKind::Admin) || self.has(RuleKind::Allow)
    }

    fn place_is_open(&self) -> bool {
        !self.group
            || self.groups != Groups::Off
                && self.chats != Some(false)
                && (self.groups == Groups::All || self.addressed == Some(true))
    }
}

fn decided(case: &Case) -> (Verdict, Standing) {
    let (instance, nothing) = ("bot".parse().unwrap(), AccessSettings::default());
    let settings = case.settings();
    let facts = Facts {
        instance: &instance,
        platform: "telegram",
        platform_user_id: "7",
        username: Some("alice"),
        chat_id: case.group.then_some("g1"),
        is_group: case.group,
        addressed: case.addressed,
        claim: case.claim,
    };
    let (places, register) = (Places([&nothing, &nothing, &settings]), case.register());
    (decide(places, &register, &facts), standing(places, &register, &facts))
}

proptest! {
    #[test]
    fn the_owner_always_talks_where_anybody_does(case in case()) {
        let (verdict, standing) = decided(&case);
        prop_assert_eq!(standing == Standing::Owner, case.is_owner());
        if case.is_owner() {
            prop_assert_eq!(verdict == Verdict::Allowed, case.place_is_open());
        }
    }

    #[test]
    fn nobody_who_is_kept_out_talks(case in case()) {
        if case.is_kept_out() && !case.is_owner() {
            let (verdict, standing) = decided(&case);
            prop_assert!(matches!(standing, Standing::Blocked(_)));
            // And they are given no code either.
            prop_assert!(matches!(verdict, Verdict::Suppressed(_)));
        }
    }

    #[test]
    fn whoever_is_let_in_by_name_talks_under_any_policy(case in case()) {
        if case.is_let_in() && !case.is_kept_out() && case.place_is_open() {
            let (verdict, standing) = decided(&case);
            let limited = case.limited && standing == Standing::User;
            prop_assert_eq!(matches!(verdict, Verdict::Within(_)), limited);
            prop_assert_eq!(verdict == Verdict::Allowed, !limited);
        }
    }

    #[test]
    fn a_stranger_talks_under_the_open_policy_alone(case in case()) {
        if case.is_owner() || case.is_kept_out() || case.is_let_in() {
            return Ok(());
        }
        let wanted = match (case.claim, case.policy) {
            (Some(Claim::Stranger), _) | (_, Policy::Owner) => Some(Reason::NotOwner),
            (_, Policy::AllowList) => Some(Reason::NotAllowed),
            (_, Policy::Pairing) => Some(Reason::NotPaired),
            (_, Policy::Open) => None,
        };
        let (verdict, standing) = decided(&case);
        match wanted {
            Some(reason) => prop_assert_eq!(standing, Standing::Blocked(reason)),
            None => prop_assert_eq!(standing, Standing::User),
        }
        let asks = wanted == Some(Reason::NotPaired) && !case.group;
        prop_assert_eq!(matches!(verdict, Verdict::AskPairing(_)), asks);
    }

    /// What a narrower place says counts, and lists of both count.
    #[test]
    fn narrower_places_win(case in case(), narrow in case()) {
        let (instance, nothing) = ("bot".parse().unwrap(), AccessSettings::default());
        let (wide, narrow) = (case.settings(), narrow.settings());
        let both = AccessSettings { owner: narrow.owner.clone().or(wide.owner.clone()), ..narrow.clone() };
        let facts = Facts {
            instance: &instance,
            platform: "telegram",
            platform_user_id: "8",
            username: None,
            chat_id: None,
            is_group: false,
            addressed: None,
            claim: None,
        };
        let register = Register::default();
        let layered = decide(Places([&nothing, &narrow, &wide]), &register, &facts);
        let flat = decide(Places([&nothing, &nothing, &both]), &register, &facts);
        // The wider place's limits go on where the narrower says nothing of them.
        let as_user = |verdict: Verdict| if let Verdict::Within(_) = verdict { Verdict::Allowed } else { verdict };
        prop_assert_eq!(as_user(layered), as_user(flat));
    }
}

#[test]
fn a_rule_of_one_instance_says_nothing_of_another_and_gives_its_reason() {
    let places = AccessSettings::default();
    let rule = Rule {
        kind: RuleKind::Deny,
        who: "telegram/7".parse().unwrap(),
        instance: Some("one".parse().unwrap()),
        reason: Some("insults".to_owned()),
    };
    let register = Register::new([rule], []);
    let verdict = |instance: &str| {
        let instance = instance.parse().unwrap();
        let facts = Facts {
            instance: &instance,
            platform: "telegram",
            platform_user_id: "7",
            username: None,
            chat_id: None,
            is_group: false,
            addressed: None,
            claim: None,
        };
        decide(Places([&places; 3]), &register, &facts)
    };
    let why = "the sender is kept out: insults".to_owned();
    assert_eq!(verdict("one"), Verdict::Suppressed(Suppression { reason: Reason::Denied, why }));
    assert_eq!(verdict("two"), Verdict::Allowed);
}

#[test]
fn the_words_of_reasons_are_those_of_their_json() {
    for reason in Reason::ALL {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
    }
    assert_eq!(
        serde_json::to_string(&Standing::Blocked(Reason::Ignored)).unwrap(),
        r#"{"standing":"blocked","reason":"ignored"}"#
    );
}
