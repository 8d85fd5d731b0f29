/**
 * A vitest reporter that writes how many tests passed, failed and were skipped, with the reasons of the skipped ones,
 * as JSON to the file named by `CFSBOOT_TEST_SUMMARY`.
 */
import { writeFileSync } from "node:fs";

export default class SummaryReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const summary = { passed: 0, failed: unhandledErrors.length, skipped: 0, reasons: [] };
    for (const module of modules) {
      // a file that did not load, a failing hook: counted by vitest's exit status, but not as a test
      if (module.errors().length > 0) summary.failed++;
      for (const test of module.children.allTests()) {
        const result = test.result();
        summary[result.state]++;
        if (result.state === "skipped")
          summary.reasons.push({ test: test.fullName, reason: result.note ?? "no reason given" });
      }
    }
    writeFileSync(process.env.CFSBOOT_TEST_SUMMARY, JSON.stringify(summary));
  }
}
