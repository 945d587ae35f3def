//! The retention bounds by name (DESIGN 4.5).

use thiserror::Error;

use super::dmls::DmlsProfile;

/// Why there is no such profile.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// Nobody has given these bounds a name.
    #[error("There is no retention profile called `{0}`; there are `default`, `high-fs` and `partition`.")]
    UnknownName(String),
}

impl DmlsProfile {
    /// The names that [`DmlsProfile::named`] knows.
    pub const NAMES: [&'static str; 3] = ["default", "high-fs", "partition"];

    /// A profile by its name, without admins: `default` keeps 32 epochs behind the head, 64 in all, for 7 days and in
    /// 32 MiB; `high-fs` 8, 16 and an hour, so that less can be stolen; `partition` 256, 512 and 7 days, for groups that
    /// are often cut in two.
    ///
    /// # Errors
    /// [`ProfileError::UnknownName`].
    pub fn named(name: &str) -> Result<Self, ProfileError> {
        let standard = Self::default();
        match name {
            "default" => Ok(standard),
            "high-fs" => Ok(Self { max_behind: 8, max_retained: 16, max_age_seconds: 3600, ..standard }),
            "partition" => Ok(Self { max_behind: 256, max_retained: 512, ..standard }),
            _ => Err(ProfileError::UnknownName(name.into())),
        }
    }

    /// The name of these bounds, if they have one.
    pub fn name(&self) -> Option<&'static str> {
        let same = |other: &Self| {
            (self.max_behind, self.max_retained, self.max_age_seconds, self.max_bytes)
                == (other.max_behind, other.max_retained, other.max_age_seconds, other.max_bytes)
        };
        Self::NAMES.into_iter().find(|name| Self::named(name).is_ok_and(|other| same(&other)))
    }
}
