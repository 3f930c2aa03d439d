"""Records every trade of 12 exchange feeds into QuestDB, and proves it."""
