"""Many exams: found, analyzed one by one in processes with limits, and put into one table made from receipts."""
