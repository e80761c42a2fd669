/// The moment at which a request stops being in flight.
///
/// A request whose response never comes, or is dropped before that moment, stops being in flight
/// when its future or its body is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Completion {
    /// When the response head has arrived. Endpoints that stream look idle.
    Head,
    /// When the first data of the response body has arrived, or the body has ended without.
    FirstData,
    /// When the response body has ended, failed, or was dropped. The default: a body that is
    /// still on its way keeps its endpoint busy.
    #[default]
    End,
}
