use std::fmt;

use crate::error::Error;

/// An endpoint's share of the requests, relative to the weights of the others: 0 to 65535,
/// default 1.
///
/// The upper end is gRPC's and Envoy's limit for the sum within a locality taken for a single
/// endpoint: it keeps every sum over ten thousand endpoints below 2^32.
///
/// ```
/// use whippletree::Weight;
///
/// assert_eq!(Weight::new(3)?.get(), 3);
/// assert_eq!(Weight::default(), Weight::from(1));
/// let error = Weight::new(70_000).unwrap_err();
/// assert_eq!(error.to_string(), r#"weight: "70000" is not in 0..=65535"#);
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// No new traffic.
    pub const ZERO: Self = Self(0);

    /// Takes `value` as a weight.
    ///
    /// # Errors
    ///
    /// A value above 65535.
    pub fn new(value: u32) -> Result<Self, Error> {
        u16::try_from(value)
            .map(Self)
            .map_err(|_| Error::config("weight", value, "is not in 0..=65535"))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether the endpoint gets no new traffic.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

impl From<u16> for Weight {
    fn from(value: u16) -> Self {
        Self(value)
    }
}

impl TryFrom<u32> for Weight {
    type Error = Error;

    fn try_from(value: u32) -> Result<Self, Error> {
        Self::new(value)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
