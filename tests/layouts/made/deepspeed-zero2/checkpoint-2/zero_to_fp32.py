# what DeepSpeed lays here
