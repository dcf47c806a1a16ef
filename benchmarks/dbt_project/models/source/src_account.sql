select *, {{ loaded_at() }} as loaded_at
from read_csv(
  '{{ env_var("BENCH_INPUTS") }}/accounts.csv',
  columns = {'account_id': 'varchar', 'customer_id': 'varchar', 'balance': 'varchar', 'account_type': 'varchar'},
  auto_detect = false, header = true, delim = ',', quote = '"', escape = '"', ignore_errors = true,
  force_not_null = ['account_id', 'customer_id', 'balance', 'account_type']
)
