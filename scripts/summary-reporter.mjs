/**
 * A vitest reporter that writes how many tests passed, failed and were skipped, with what failed in the failed ones and
 * the reasons of the skipped ones, as JSON to the file named by `CFSBOOT_TEST_SUMMARY`.
 */
import { writeFileSync } from "node:fs";

export default class SummaryReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const summary = {
      passed: 0,
      failed: unhandledErrors.length,
      skipped: 0,
      failures: [],
      reasons: [],
    };
    const failed = (test, errors) => {
      for (const error of errors) summary.failures.push({ test, error: describe(error) });
    };
    failed("(outside of a test)", unhandledErrors);
    for (const module of modules) {
      // a file that did not load, a failing hook: counted by vitest's exit status, but not as a test
      if (module.errors().length > 0) summary.failed++;
      failed(module.relativeModuleId, module.errors());
      for (const test of module.children.allTests()) {
        const result = test.result();
        summary[result.state]++;
        if (result.state === "failed")
          failed(`${module.relativeModuleId} > ${test.fullName}`, result.errors);
        if (result.state === "skipped")
          summary.reasons.push({ test: test.fullName, reason: result.note ?? "no reason given" });
      }
    }
    writeFileSync(process.env.CFSBOOT_TEST_SUMMARY, JSON.stringify(summary));
  }
}

/** The message of an error, and where in the project's files it arose. */
function describe({ message, diff, stacks = [] }) {
  const [at] = stacks;
  const place = at === undefined ? [] : [`at ${at.file}:${at.line}:${at.column}`];
  return [message, ...(diff === undefined ? [] : [diff]), ...place].join("\n").slice(0, 4000);
}
