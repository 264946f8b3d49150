// Runs before the rest of the page has come: asks for the exam that the address names.

import { ahead } from "./shared/api.js";

const exam = location.hash.match(/^#\/exam\/([\w-]+)$/);
if (exam) ahead(`/api/exams/${exam[1]}`);
