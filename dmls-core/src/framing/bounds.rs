//! The retention bounds by name (DESIGN 4.5).

use thiserror::Error;

use super::dmls::DmlsProfile;

/// Why retention bounds cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// Nobody has given these bounds a name.
    #[error("There is no retention profile called `{0}`; there are `default`, `high-fs` and `partition`.")]
    UnknownName(String),
    /// A device would keep more than its group allows.
    #[error("This device wants to keep {wanted} {what}, and the group allows {allowed}.")]
    NotAllowed {
        /// What is bounded, with its unit.
        what: &'static str,
        /// The device's bound.
        wanted: u64,
        /// The group's.
        allowed: u64,
    },
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
        let same = |other: &Self| self.bounds() == other.bounds();
        Self::NAMES.into_iter().find(|name| Self::named(name).is_ok_and(|other| same(&other)))
    }

    fn bounds(&self) -> [(&'static str, u64); 4] {
        [
            ("epochs behind the head", u64::from(self.max_behind)),
            ("epochs in all", u64::from(self.max_retained)),
            ("seconds of history", self.max_age_seconds),
            ("bytes", self.max_bytes),
        ]
    }

    /// Whether a device that keeps what this profile says keeps no more than `group` allows.
    ///
    /// # Errors
    /// [`ProfileError::NotAllowed`] for the first bound that is wider.
    pub fn check_within(&self, group: &Self) -> Result<(), ProfileError> {
        for ((what, wanted), (_, allowed)) in self.bounds().into_iter().zip(group.bounds()) {
            if wanted > allowed {
                return Err(ProfileError::NotAllowed { what, wanted, allowed });
            }
        }
        Ok(())
    }

    /// This profile with each bound of `device` that is narrower.
    #[must_use]
    pub fn narrowed(self, device: &Self) -> Self {
        Self {
            max_behind: self.max_behind.min(device.max_behind),
            max_retained: self.max_retained.min(device.max_retained),
            max_age_seconds: self.max_age_seconds.min(device.max_age_seconds),
            max_bytes: self.max_bytes.min(device.max_bytes),
            ..self
        }
    }
}
