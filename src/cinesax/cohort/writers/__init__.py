"""Tables beside cohort.csv that have rules of their own: the names of exams, and REDCap's."""
