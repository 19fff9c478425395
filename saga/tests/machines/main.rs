//! Both machines in a toy world.

mod encodings;
mod loud;
mod mutations;
mod signed;
mod toy;
