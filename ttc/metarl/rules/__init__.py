"""Update rules: how agents learn, given by hand or learned themselves."""
