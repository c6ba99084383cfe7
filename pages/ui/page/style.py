"""What Streamlit's theme cannot say: the marks of the app, and that nothing jumps when a line of text appears."""

STYLE = """
<style>
[data-testid="stMainBlockContainer"] { padding: 3.75rem 2.5rem 2rem; }
[data-testid="stStatusWidget"] { display: none; }
[data-stale="true"] { opacity: 1 !important; transition: none !important; }
[data-testid="stElementContainer"]:has([data-testid="stSpinner"]) {
  position: relative; z-index: 2; width: auto; height: 0; margin-bottom: -1rem; }
[data-testid="stSpinner"] { padding: 0.25rem 0.75rem; border-radius: 0.5rem; background: var(--st-background-color); }
.st-key-language { position: fixed; top: 0.65rem; right: 3.5rem; z-index: 999991; width: auto; }
.st-key-status { min-height: 2.75rem; }
[class*="st-key-written-"] { min-height: 2.5rem; }
[class*="st-key-written-"]:has([class*="st-key-download-"]) [class*="st-key-files-"] { display: none; }
[class*="st-key-download-"] p { white-space: normal !important; }
.st-key-layers-view [role="radiogroup"], .st-key-learning-image [role="radiogroup"] { flex-wrap: wrap; }
.st-key-charts > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
.st-key-charts > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] > [data-testid="stColumn"] {
  min-width: 16rem; }
.st-key-charts [data-testid="stColumn"] [data-testid="stColumn"] { min-width: 5rem; }
.st-key-charts [class*="st-key-axis-"] * { font-size: 0.8rem; }
.st-key-budget-bar > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
.st-key-budget-bar > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] > [data-testid="stColumn"] {
  min-width: 5rem; }
.st-key-budget-bar > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] :is(label, button) * {
  font-size: 0.8rem; }
.st-key-budget-bar [data-testid="stButtonGroup"] button { padding: 0.25rem 0.5rem; }
.st-key-budget-bar [data-testid="stColumn"] > [data-testid="stVerticalBlock"] { gap: 0.25rem; }
.st-key-layers-centre > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
.st-key-layers-centre > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] > [data-testid="stColumn"] {
  min-width: 22rem; }
[class*="st-key-group-"] { padding: 0.55rem 0.75rem !important; }
[class*="st-key-group-"] summary { padding: 0.25rem 0.5rem; min-height: 0; }
[data-testid="stSidebar"] [data-testid="stVerticalBlock"] { gap: 0.6rem; }
[data-testid="stSidebar"] [data-testid="stPageLink"] a { padding-left: 0; }
.st-key-bring-images, .st-key-bring-library { min-height: 4.25rem; }
[data-testid="stMetric"] { min-height: 8.4rem; }
:is([data-testid="stMetricLabel"], [data-testid="stMetricValue"], [data-testid="stMetricDeltaDescription"]) p {
  white-space: normal !important; }
div:has(> [data-testid="stMetricDeltaDescription"]) { flex-wrap: wrap; }
:has(> [data-testid="stMultiSelectTagsContainer"]) { max-height: none !important; }
[data-testid="stMultiSelectTagsContainer"] { flex-wrap: wrap; padding-bottom: 5px; row-gap: 4px; mask: none; }
[data-testid="stMultiSelect"] [data-tag] { max-width: 100%; height: auto; padding-block: 2px; }
[data-testid="stMultiSelect"] [data-tag] > [title] { white-space: normal; }
.st-key-lesson { max-width: 62rem; margin: 0 auto; }
.st-key-lesson [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
.st-key-lesson [data-testid="stColumn"] { min-width: 17rem; }
.st-key-lesson [class*="st-key-figures"] [data-testid="stColumn"] { min-width: 7rem; }
.st-key-lesson [class*="st-key-figures"] [data-testid="stMetric"] { min-height: 0; }
.term { border-bottom: 1px dotted currentColor; cursor: help; }
@media print {
  header, [data-testid="stSidebar"], [data-testid="stToolbar"], .st-key-unprinted { display: none !important; }
  [data-testid="stMainBlockContainer"] { padding: 0; }
}
@media (min-width: 1001px) {
  .st-key-figures [data-testid="stMetric"] { min-height: 0; }
  .st-key-figures [data-testid="stMetric"] > div { display: grid; grid-template: auto auto / 1fr auto; gap: 0 0.5rem;
    padding: 0.5rem 0.9rem; align-items: center; }
  .st-key-figures [data-testid="stMetricValue"] { font-size: 1.6rem; line-height: 1.3; }
  .st-key-figures [data-testid="stMetric"] > div > div:last-child:not([data-testid]) { grid-area: 1 / 2 / 3 / 3;
    flex-direction: column; align-items: flex-end; gap: 0.25rem; margin: 0; }
}
@media (max-width: 1000px) {
  [data-testid="stSidebar"] { width: 15rem !important; min-width: 15rem !important; }
  [data-testid="stMainBlockContainer"] { padding: 3.75rem 1.25rem 2rem; }
  [data-testid="stMetricValue"] { font-size: 1.5rem; }
  [class*="st-key-written-"] { min-height: 4rem; align-items: center; }
  .st-key-budget-bar > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] >
  [data-testid="stColumn"] { flex-basis: 13rem; }
  .st-key-budget-bar > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] >
  [data-testid="stColumn"]:is(:first-child, :last-child) { flex-basis: 100%; }
  .st-key-charts > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] > [data-testid="stColumn"],
  .st-key-layers-centre > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] >
  [data-testid="stColumn"] { flex-basis: 100%; }
}
</style>
"""

ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24">
<path d="M2 4h20v3H2zM2 17h20v3H2z" fill="#0072B2"/><path d="M7 10.5h10v3H7z" fill="#D55E00"/></svg>"""

LOGO = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 190 24" width="190" height="24">
<path d="M1 4h18v3H1zM1 17h18v3H1z" fill="#3987C9"/><path d="M5 10.5h10v3H5z" fill="#D55E00"/>
<text x="29" y="18" font-family="Source Sans, Segoe UI, Helvetica, Arial, sans-serif" font-size="18"
font-weight="600" fill="#3987C9" textLength="148" lengthAdjust="spacingAndGlyphs">Compression Lab</text></svg>"""

RELOAD = "<script>window.location.reload()</script>"
