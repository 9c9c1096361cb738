mod owner;
