//! Enrolled people: galleries in memory, in a file, and on a server.

mod exchange;
mod handle;
mod identification;
mod params;
mod postgres;
mod records;

pub use exchange::*;
pub use handle::*;
pub use identification::*;
pub use params::*;
pub use postgres::*;
pub use records::*;
