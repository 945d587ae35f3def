//! The bounds, by name and by number.

use dmls_core::framing::{DmlsProfile, ProfileError};

#[test]
fn profiles_have_names() {
    let numbers = |name: &str| {
        let profile = DmlsProfile::named(name).expect("a known name");
        assert_eq!(profile.name(), Some(name));
        (profile.max_behind, profile.max_retained, profile.max_age_seconds, profile.max_bytes)
    };
    assert_eq!(numbers("default"), (32, 64, 7 * 24 * 3600, 32 << 20));
    assert_eq!(numbers("high-fs"), (8, 16, 3600, 32 << 20));
    assert_eq!(numbers("partition"), (256, 512, 7 * 24 * 3600, 32 << 20));
    assert_eq!(DmlsProfile::named("default").expect("a name"), DmlsProfile::default());
    let unknown = DmlsProfile::named("high_fs").expect_err("no such name");
    assert_eq!(unknown, ProfileError::UnknownName("high_fs".into()));
    let says =
        "There is no retention profile called `high_fs`; there are `default`, `high-fs` and `partition`.";
    assert_eq!(unknown.to_string(), says);
    let own = DmlsProfile { max_behind: 9, ..DmlsProfile::default() };
    assert_eq!(own.name(), None);
}
