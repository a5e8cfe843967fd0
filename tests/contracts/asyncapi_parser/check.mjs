// Prints, as JSON, what @asyncapi/parser has to say of the document given: its operations and each problem found.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const NAMES = ["error", "warning", "information", "hint"];
const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const problems = diagnostics.map((one) => ({
  severity: NAMES[one.severity],
  code: String(one.code),
  path: one.path.join("."),
  message: one.message,
}));
const operations = (document?.operations().all() ?? []).map((one) => ({ id: one.id(), action: one.action() }));
console.log(JSON.stringify({ operations, problems }));
