mod changing_tree;
mod hostile_trees;
mod unreadable;
