mod owner;
mod usual_trees;
