document.querySelectorAll('.events').forEach(function (box) {
  var filter = box.querySelector('.filter'), rows = box.querySelectorAll('tbody tr'), count = box.querySelector('.count');
  if (!filter) return;
  filter.hidden = false;
  function apply() {
    var words = filter.querySelector('input[type=search]').value.toLowerCase(), lanes = {}, shown = 0;
    filter.querySelectorAll('input[type=checkbox]').forEach(function (lane) { lanes[lane.value] = lane.checked; });
    rows.forEach(function (row) {
      var lane = row.getAttribute('data-lane');
      row.hidden = lane !== null && (!lanes[lane] || row.textContent.toLowerCase().indexOf(words) < 0);
      if (!row.hidden && lane !== null) shown += 1;
    });
    count.textContent = shown + ' shown';
  }
  filter.addEventListener('input', apply);
  apply();
});
function reveal() {
  var row = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (!row) return;
  row.hidden = false;
  for (var box = row.closest('details'); box; box = box.parentElement.closest('details')) box.open = true;
  row.scrollIntoView({ block: 'center' });
}
addEventListener('hashchange', reveal);
reveal();
