//! Both machines in a toy world.

mod deciding;
mod encodings;
mod loud;
mod mutations;
mod signed;
mod toy;
