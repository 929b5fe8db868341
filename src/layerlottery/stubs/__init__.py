"""Starting points for code of your own: a criterion, a network, a data set or an attack that works as it is written."""
