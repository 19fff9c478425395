//! Both machines in a toy world.

mod encodings;
mod loud;
mod signed;
mod toy;
