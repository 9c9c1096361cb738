mod changing_tree;
mod hostile_names;
mod mounts;
mod unreadable;
mod users;
mod wide;
